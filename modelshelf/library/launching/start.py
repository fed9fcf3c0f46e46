"""An instance is recorded, and its engine is started as a process of its own."""

from __future__ import annotations

import uuid
from dataclasses import asdict, replace

from modelshelf.catalog import instances, places, replicas, templates, versions
from modelshelf.catalog.instances import Instance
from modelshelf.crash_points import reach
from modelshelf.durable import write_whole
from modelshelf.engines.contract import Listen, Mounted
from modelshelf.engines.keys import require_usable
from modelshelf.engines.table import engine_called
from modelshelf.formats.image import ModelFile
from modelshelf.library import registering
from modelshelf.library.launching.request import LaunchRequest, Serves
from modelshelf.library.launching.rules import engine_for, port_for, require_as_asked, require_free
from modelshelf.library.opening import Library
from modelshelf.library.running import is_running, log_file
from modelshelf.names import InstanceName, ProjectName


def record_start(
    library: Library, asking: ProjectName, name: InstanceName, serves: Serves, request: LaunchRequest, who: str
) -> Instance:
    """The instance and the template revision that it runs are recorded, before anything is started."""
    engine = engine_for(library, serves, request)
    with library.catalog.writing() as connection:
        there = instances.lookup(connection, asking, name)
        if there is not None and (is_running(library, there) or library.node.find(there.label) is not None):
            require_as_asked(there, serves, request)
            return there  # also the one that a killed launch left: it is found by its label and proven next
        port = port_for(there, request)
        for target, _ in serves:  # what was retired or disabled meanwhile is refused here, in this transaction
            versions.require_selectable(versions.get(connection, asking, target.id), instances.using(there))
        own = templates.write(
            connection, asking, templates.own_name(name), engine=engine.name, settings=request.to_json(), serving=serves, who=who
        )
        made = instances.record(
            connection, asking, name, revision_id=own.revision_id, node_id=library.node_id,
            label=there.label if there is not None else uuid.uuid4().hex, bind=request.bind, port=port,
        )  # fmt: skip
    reach("instance.recorded")
    return made


def start(library: Library, asking: ProjectName, which: Instance, key: str) -> Instance:
    """Its engine runs, as a process of its own that outlives us; which process that is, is recorded.

    The replicas of what it serves are on the node.
    """
    engine = engine_called(which.engine, library.settings)
    request = LaunchRequest.from_json(which.settings)
    process = library.node.find(which.label)
    mounted = mounted_of(library, asking, which)
    listen = listen_of(library, which, key)
    command = engine.command(mounted, listen, request.arguments, request.cpus)
    if process is None:
        require_free(which.bind, which.port)
        engine.lay_out(mounted, listen.own)
        asked = dict(pair.split("=", 1) for pair in request.environment)
        environment = {**asked, **command.environment}  # what the engine needs wins
        command = replace(command, environment=environment, cpus=request.cpus, memory=request.memory)
        process = library.node.start(which.label, command, log_file(library, which))
        reach("instance.spawned")
    with library.catalog.writing() as connection:
        instances.change(
            connection, which.id, process=asdict(process), command=list(command.arguments), notes=list(command.left_out)
        )
        started = instances.find(connection, asking, which.name)
        for serving in started.serves:
            replicas.used(connection, library.node_id, serving.version_id)
    reach("instance.pid_recorded")
    return started


def mounted_of(library: Library, asking: ProjectName, which: Instance) -> list[Mounted]:
    mounted = []
    with library.catalog.reading() as connection:
        for serving in which.serves:
            target = versions.get(connection, asking, serving.version_id)
            assert target.format is not None
            files: tuple[ModelFile, ...]
            if target.in_place:
                at = places.of(connection, target)
                files, folder = at.files, registering.require_here(library, target, at)
            else:
                assert target.image is not None
                files, folder = versions.files(connection, asking, target.id), library.node.files_of(target.image)
            mounted.append(Mounted(serving.served_name, target.category, target.format, folder, files, target.parts))
    return mounted


def listen_of(library: Library, which: Instance, key: str) -> Listen:
    own = library.node.instance_folder(which.label)
    if not key:
        return Listen(which.bind, which.port, own)
    file = own / "key"
    write_whole(file, f"{require_usable(key)}\n")  # an engine that just starts reads it whole
    return Listen(which.bind, which.port, own, file)
