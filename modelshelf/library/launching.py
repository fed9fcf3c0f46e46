"""Launching: an engine started from a template revision, and proven by a token of each of its models."""

from __future__ import annotations

import socket
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from modelshelf.catalog import instances, places, replicas, templates, versions
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.versions import Version
from modelshelf.crash_points import reach
from modelshelf.durable import write_whole
from modelshelf.engines.contract import Engine, Listen, Mounted
from modelshelf.engines.table import engine_called, require_served
from modelshelf.errors import (
    BadSetting,
    EngineDied,
    EngineListsOther,
    EngineTooSlow,
    InstanceRuns,
    ModelshelfError,
    PortTaken,
    TooManyModels,
    Unavailable,
    Unprotected,
)
from modelshelf.formats.image import ModelFile
from modelshelf.library import registering
from modelshelf.library.opening import Library
from modelshelf.library.running import is_running, log_file, recorded, stop_engine, tail
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName, TemplateName
from modelshelf.nodes import processes
from modelshelf.stop import StopToken
from modelshelf.wire import Authorization, Wire

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}

Serves = tuple[tuple[Version, ServedName], ...]
"""What an instance shall serve, each version under its served name."""


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What someone asks for; kept in the template's revision, so that a restart asks for the same. No secret is in it."""

    engine: str = "llamacpp"
    bind: str = "127.0.0.1"
    port: int = 0
    """0 is any free port; the one that was taken is kept through restarts."""
    arguments: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    """`NAME=VALUE`, for the engine."""
    cpus: int = 0
    """Processors that it may use; 0 is all."""
    memory: int = 0
    """Bytes that it may allocate, beside the weights that it maps; 0 is no limit."""
    key_block: str = ""
    unprotected: bool = False
    template: str = ""
    """`name@revision` of the template that it was launched from."""

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "arguments": list(self.arguments), "environment": list(self.environment)}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> LaunchRequest:
        known = {key: value for key, value in said.items() if key in cls.__slots__}
        for key in ("arguments", "environment"):
            known[key] = tuple(known.get(key, ()))
        return cls(**known)


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What a launch does; sizes in bytes."""

    instance: InstanceName
    serves: tuple[tuple[ModelRef, ServedName], ...]
    engine: str
    bind: str
    port: int
    size: int
    cached: bool
    running: bool
    """It runs already, just as asked: nothing is to be done."""

    def to_json(self) -> dict[str, object]:
        serves = [{"version": str(ref), "name": str(served)} for ref, served in self.serves]
        return {**asdict(self), "instance": str(self.instance), "serves": serves}


def asked_for(
    library: Library, asking: ProjectName, *, model: ModelRef | None, template: TemplateName | None, served: ServedName | None,
    name: InstanceName | None, request: LaunchRequest,
) -> tuple[InstanceName, Serves, LaunchRequest]:  # fmt: skip
    """What a launch means: a model, a template, or the instance of that name as it was started before.

    What is asked for wins over the template. Where nothing is, an instance that is launched again keeps what it had.
    """
    with library.catalog.reading() as connection:
        there = instances.lookup(connection, asking, name) if name is not None else None
        if template is not None:
            found = templates.get(connection, asking, template)
            kept = LaunchRequest.from_json({**found.settings, "engine": found.engine, "template": f"{template}@{found.number}"})
            serves = tuple((versions.get(connection, asking, one.version_id), one.served_name) for one in found.serves)
            return name or InstanceName(template.text), serves, _merged(kept, request)
        if model is not None:
            target = versions.require_ready(versions.find(connection, asking, model))
            name = name or InstanceName(target.model.text)
            there = there or instances.lookup(connection, asking, name)
            same = there is not None and [one.version_id for one in there.serves] == [target.id]
            if there is not None and same and request == LaunchRequest():
                return name, ((target, served or there.serves[0].served_name),), LaunchRequest.from_json(there.settings)
            return name, ((target, served or ServedName(target.model.text)),), request
        if name is None:
            raise BadSetting(where="a launch", reason="it names no model, no template and no instance")
        there = instances.find(connection, asking, name)
        serves = tuple((versions.get(connection, asking, one.version_id), one.served_name) for one in there.serves)
        return name, serves, LaunchRequest.from_json(there.settings)


def require_protected(engine: Engine, request: LaunchRequest) -> None:
    """Beyond loopback an engine asks for a key, or someone says that it shall not."""
    if request.key_block and not engine.takes_key:
        raise Unprotected(bind=request.bind, reason=f"{engine.name} knows no keys", advice="Launch without `--key`.")
    if request.bind in _LOOPBACK or request.key_block or request.unprotected:
        return
    if engine.takes_key:
        reason, advice = "no key was named", "Store one with `modelshelf login engine NAME` and launch with `--key NAME`."
    else:
        reason, advice = f"{engine.name} knows no keys", "Launch with `--unprotected` if that is meant."
    raise Unprotected(bind=request.bind, reason=reason, advice=advice)


def plan_launch(library: Library, asking: ProjectName, name: InstanceName, serves: Serves, request: LaunchRequest) -> LaunchPlan:
    """What would be done; raises what a launch would raise before anything starts."""
    engine = _engine_for(library, serves, request)
    cached, size = True, 0
    with library.catalog.reading() as connection:
        there = instances.lookup(connection, asking, name)
        for target, _ in serves:
            size += target.size or 0
            if target.in_place:
                registering.require_here(library, target, places.of(connection, target))
            elif target.image is not None:
                cached = cached and library.node.holds(target.image, versions.files(connection, asking, target.id))
    running = there is not None and is_running(library, there)
    if there is not None and running:
        _require_as_asked(there, serves, request)
    port = there.port if there is not None and running else _port_for(there, request)
    named = tuple((target.ref, served) for target, served in serves)
    return LaunchPlan(name, named, engine.name, request.bind, port, size, cached, running)


def record_start(
    library: Library, asking: ProjectName, name: InstanceName, serves: Serves, request: LaunchRequest, who: str
) -> Instance:
    """The instance and the template revision that it runs are recorded, before anything is started."""
    engine = _engine_for(library, serves, request)
    with library.catalog.writing() as connection:
        there = instances.lookup(connection, asking, name)
        if there is not None and (is_running(library, there) or library.node.find(there.label) is not None):
            _require_as_asked(there, serves, request)
            return there  # also the one that a killed launch left: it is found by its label and proven next
        port = _port_for(there, request)
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
    mounted = _mounted(library, asking, which)
    listen = _listen(library, which, key)
    command = engine.command(mounted, listen, request.arguments)
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


@dataclass(frozen=True, slots=True)
class Probed:
    """Seconds from the start of the wait to each of these."""

    engine_up: float
    model_visible: float
    first_token: float


def wait_until_ready(
    library: Library, asking: ProjectName, which: Instance, key: str, stop: StopToken, limits: Limits = DEFAULT
) -> Probed:
    """The engine answers, lists each model under its name and recorded digest, and each returned one token.

    If it does not, it is stopped and the instance says why, with the engine's last log lines.
    """
    engine = engine_called(which.engine, library.settings)
    mounted = _mounted(library, asking, which)
    url = _listen(library, which, key).url
    wire, authorization = Wire(), Authorization.bearer(key) if key else None
    began = time.monotonic()
    try:
        _until(library, which, stop, "answer", limits, lambda: engine.is_up(wire, url))
        up = time.monotonic()
        require_listed(engine, engine.listed(wire, url, authorization), mounted, which.name)
        listed = time.monotonic()
        for one in mounted:
            stop.check()
            engine.first_token(wire, url, authorization, one)
        token = time.monotonic()
    except ModelshelfError as error:
        stop_engine(library, which, limits)
        with library.catalog.writing() as connection:
            instances.change(connection, which.id, state="failed", reason=str(error), process=None)
        raise
    return Probed(up - began, listed - began, token - began)


def require_listed(engine: Engine, listed: Mapping[str, str | None], mounted: Sequence[Mounted], name: InstanceName) -> None:
    """Raise EngineListsOther unless each model is listed under its name, and with the digest that is recorded."""
    for one in mounted:
        shown, wanted = engine.listed_name(one.served_name), engine.identity(one)
        if shown not in listed:
            found = ", ".join(sorted(listed)) or "nothing"
            raise EngineListsOther(engine=engine.name, found=found, expected=shown, instance=name)
        if wanted is not None and listed[shown] != wanted:
            found = f"{shown} with digest {str(listed[shown])[:12]}"
            raise EngineListsOther(engine=engine.name, found=found, expected=f"digest {wanted[:12]}", instance=name)


def listing_differs(library: Library, asking: ProjectName, which: Instance) -> str | None:
    """What a running engine lists otherwise than recorded; None if it lists all as it should, or asks for a key."""
    if which.settings.get("key_block"):
        return None
    engine = engine_called(which.engine, library.settings)
    url = _listen(library, which, "").url
    try:
        require_listed(engine, engine.listed(Wire(), url, None), _mounted(library, asking, which), which.name)
    except ModelshelfError as error:
        return str(error)
    return None


def mark_ready(library: Library, asking: ProjectName, which: Instance, stages: dict[str, float], who: str) -> Instance:
    with library.catalog.writing() as connection:
        instances.mark_ready(connection, asking, which, stages, who)
        ready = instances.find(connection, asking, which.name)
    reach("instance.ready")
    return ready


def require_free(bind: str, port: int) -> None:
    """Raise PortTaken if something listens there."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            raise PortTaken(port=port, bind=bind, by=f" ({error.strerror})") from error


def require_fitting(engine: Engine, serves: Serves) -> None:
    """Raise TypeMismatch or TooManyModels unless the engine serves all of these in one instance."""
    require_served(engine, [(target.ref, target.format) for target, _ in serves if target.format is not None])
    if len(serves) > engine.models_at_once:
        raise TooManyModels(engine=engine.name, most=engine.models_at_once, found=len(serves))


def _merged(kept: LaunchRequest, asked: LaunchRequest) -> LaunchRequest:
    """The template's settings, and what was asked for in their place where it is not the default."""
    default = LaunchRequest()
    changed = {key: getattr(asked, key) for key in LaunchRequest.__slots__ if getattr(asked, key) != getattr(default, key)}
    return replace(kept, **changed)


def _engine_for(library: Library, serves: Serves, request: LaunchRequest) -> Engine:
    engine = engine_called(request.engine, library.settings)
    require_fitting(engine, serves)
    engine.require_installed()
    require_protected(engine, request)
    require_environment(request.environment)
    return engine


def require_environment(pairs: Sequence[str]) -> None:
    """Raise BadSetting unless each is `NAME=VALUE`, and none of them could load code into the engine."""
    for pair in pairs:
        name, found, _ = pair.partition("=")
        if not found or not name.isidentifier() or not name.isascii() or "\0" in pair:
            raise BadSetting(where="the environment", reason=f"{pair[:60]!r} is not NAME=VALUE")
        if name.startswith(("LD_", "PYTHON", "MODELSHELF_", "PREFECT_")):
            raise BadSetting(where="the environment", reason=f"{name} is not an engine's setting")


def _port_for(there: Instance | None, request: LaunchRequest) -> int:
    """The port that was asked for, else the one it had before, else a free one."""
    if request.port:
        require_free(request.bind, request.port)
        return request.port
    if there is not None and there.bind == request.bind:
        try:
            require_free(request.bind, there.port)
        except PortTaken:
            pass
        else:
            return there.port
    family = socket.AF_INET6 if ":" in request.bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.bind((request.bind, 0))
        return int(probe.getsockname()[1])


def _require_as_asked(there: Instance, serves: Serves, request: LaunchRequest) -> None:
    """A running instance is what was asked for, or the request is refused: it is never changed under its users."""
    found: dict[str, object] = {**LaunchRequest.from_json(there.settings).to_json()}
    wanted: dict[str, object] = {**request.to_json()}
    for said, names in (
        (found, [(one.ref, one.served_name) for one in there.serves]),
        (wanted, [(target.ref, served) for target, served in serves]),
    ):
        said["version"] = ", ".join(sorted(str(ref) for ref, _ in names))
        said["served as"] = ", ".join(sorted(str(served) for _, served in names))
        del said["template"]
    if not request.port:
        wanted["port"] = found["port"]
    differing = [key for key in wanted if found[key] != wanted[key]]
    if differing:
        raise InstanceRuns(
            instance=there.name,
            state="running",
            found=", ".join(f"{key} {found[key]}" for key in differing),
            wanted=", ".join(f"{key} {wanted[key]}" for key in differing),
        )


def _mounted(library: Library, asking: ProjectName, which: Instance) -> list[Mounted]:
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


def _listen(library: Library, which: Instance, key: str) -> Listen:
    own = library.node.instance_folder(which.label)
    if not key:
        return Listen(which.bind, which.port, own)
    file = own / "key"
    write_whole(file, f"{key}\n")  # an engine that just starts reads it whole
    return Listen(which.bind, which.port, own, file)


def _until(library: Library, which: Instance, stop: StopToken, stage: str, limits: Limits, holds: Callable[[], bool]) -> None:
    """Ask again until it holds; a process that ended, or one that takes too long, is an error with its last lines."""
    until = time.monotonic() + limits.engine_start_seconds
    process = recorded(which)
    while True:
        try:
            if holds():
                return
        except Unavailable:  # nothing listens yet
            pass
        last = tail(log_file(library, which), limits.log_tail_lines)
        if process is None or not library.node.alive(process):
            status = processes.exit_status(process.pid) if process else "unknown"
            raise EngineDied(engine=which.engine, status=status, tail=last, instance=which.name)
        if time.monotonic() > until:
            seconds = limits.engine_start_seconds
            raise EngineTooSlow(engine=which.engine, stage=stage, seconds=seconds, tail=last, instance=which.name)
        stop.wait(0.05)
