"""An instance is recorded, and its engine is started as a process of its own."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Literal

from sqlalchemy.engine import Connection

from modelshelf.catalog import instances, templates, versions
from modelshelf.catalog.ids import VersionId
from modelshelf.catalog.instances import Instance
from modelshelf.crash_points import reach
from modelshelf.engines.contract import Command, Engine, Layout, Model, Surroundings
from modelshelf.engines.table import engine_called
from modelshelf.errors import InstanceRuns, ReplicaGone
from modelshelf.library import stamps
from modelshelf.library.launching.models import Placed, models_of
from modelshelf.library.launching.request import LaunchSettings, LaunchSpec, Serves
from modelshelf.library.launching.rules import engine_for, port_for, require_as_asked
from modelshelf.library.opening import Library
from modelshelf.library.running import is_running, require_here, stop_engine
from modelshelf.names import ProjectName

_ANYWHERE = PurePosixPath("/")
"""A command is checked before anything is laid out."""


@dataclass(frozen=True, slots=True)
class Started:
    """An instance whose engine runs, and what that engine was given."""

    instance: Instance
    models: tuple[Model, ...]


def record(library: Library, asking: ProjectName, spec: LaunchSpec, who: str, *, also: Collection[VersionId] = ()) -> Instance:
    """Record the instance and the template revision that it runs, before anything is laid out or started.

    From now on it holds what it serves, and the versions in `also`. An engine that a killed launch left is returned as it is,
    to be proven next, or ended if it is not what is asked for. The caller holds the instance's lease.
    """
    engine = engine_for(library, spec)
    with library.catalog.writing() as connection:
        there = instances.lookup(connection, asking, spec.instance)
        if there is not None:
            require_here(library, there)
        left = _left_running(library, there, spec)
        if left == "none":
            made = _record(connection, library, asking, spec, engine, there, who, also)
    if there is not None and left == "as asked":
        return there
    if there is not None and left == "otherwise":
        stop_engine(library, there)
        return record(library, asking, spec, who, also=also)
    reach("instance.recorded")
    return made


def start(library: Library, asking: ProjectName, which: Instance, serves: Serves, settings: LaunchSettings, key: str) -> Started:
    """Start the recorded instance's engine as a process that outlives this one, and record which process it is.

    Precondition: the replica of each version is on this node. Raises ReplicaGone if one is not.
    """
    engine, handle = engine_called(which.engine), library.node.find(which.label)
    program = library.node.require(engine.name)
    placed = models_of(library, asking, serves)
    models = tuple(one.model for one in placed)
    if handle is None:
        library.node.choose_port(which.bind, which.port)
    at = _prepare(library, which, placed, engine.layout(models) if handle is None else None, key)
    command = command_of(engine, models, at, settings)
    if handle is None:
        handle = library.node.start(which.label, engine.name, command)
        reach("instance.spawned")
    shown = (*program, *command.arguments)
    notes = tuple(dict.fromkeys(note for model in models for note in engine.left_out(model)))
    with library.catalog.writing() as connection:
        instances.change(connection, which.id, handle=handle, command=list(shown), notes=list(notes))
    reach("instance.pid_recorded")
    return Started(replace(which, handle=handle, command=shown, notes=notes), models)


def require_command(library: Library, asking: ProjectName, spec: LaunchSpec) -> None:
    """Raise NothingToServe or ReplicaGone if the instance's engine could not be given these versions."""
    engine, models = engine_called(spec.settings.engine), tuple(one.model for one in models_of(library, asking, spec.serves))
    engine.layout(models)
    command_of(engine, models, Surroundings((_ANYWHERE,) * len(models), _ANYWHERE, spec.settings.bind, 0), spec.settings)


def command_of(engine: Engine, models: tuple[Model, ...], at: Surroundings, settings: LaunchSettings) -> Command:
    """Return the command that serves the models as the settings ask for it. Raises NothingToServe."""
    command = engine.command(models, at, settings.arguments, settings.cpus)
    asked = dict(pair.split("=", 1) for pair in settings.environment)
    environment = {**asked, **command.environment}  # what the engine needs wins
    return replace(command, environment=environment, cpus=settings.cpus, memory=settings.memory)


def _prepare(library: Library, which: Instance, placed: tuple[Placed, ...], layout: Layout | None, key: str) -> Surroundings:
    linked = {file.digest for one in placed for file in one.model.files if file.digest is not None} if layout else ()
    with _replicas_in_place(which), stamps.linking(library, linked):
        return library.node.prepare(which.label, [one.where for one in placed], layout, bind=which.bind, port=which.port, key=key)


@contextmanager
def _replicas_in_place(which: Instance) -> Iterator[None]:
    """Raise ReplicaGone in place of a file that is not there."""
    try:
        yield
    except FileNotFoundError as error:
        raise ReplicaGone(what=f"what {which.name} serves") from error


def _left_running(library: Library, there: Instance | None, spec: LaunchSpec) -> Literal["none", "as asked", "otherwise"]:
    """Return whether an engine runs for the instance, and how it was started.

    Raises InstanceRuns for a ready one that is not what is asked for. One that is not ready was left by a killed launch.
    """
    if there is None:
        return "none"
    if is_running(library, there):
        require_as_asked(there, spec)
        return "as asked"
    if library.node.find(there.label) is None:
        return "none"
    try:
        require_as_asked(there, spec)
    except InstanceRuns:
        return "otherwise"
    return "as asked"


def _record(
    connection: Connection, library: Library, asking: ProjectName, spec: LaunchSpec, engine: Engine, there: Instance | None,
    who: str, also: Collection[VersionId],
) -> Instance:  # fmt: skip
    port = port_for(library, there, spec.settings)
    already = instances.using(there) | frozenset(also)
    # what was deleted, damaged or disabled meanwhile is refused here, in this transaction
    for target in versions.get_each(connection, asking, [target.id for target, _ in spec.serves]):
        versions.require_selectable(target, already)
    own = templates.write(
        connection, asking, templates.own_name(spec.instance), engine=engine.name, settings=spec.settings.to_json(),
        serving=spec.serves, who=who,
    )  # fmt: skip
    return instances.record(
        connection, asking, spec.instance, template=own, node_id=library.node_id,
        label=there.label if there is not None else uuid.uuid4().hex, bind=spec.settings.bind, port=port, also=also,
    )  # fmt: skip
