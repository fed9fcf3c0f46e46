"""Instances: an engine started from a template, proven by a token, stopped again."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from modelshelf.catalog import instances, journal, versions
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.versions import Version
from modelshelf.crash_points import reach
from modelshelf.engines.contract import Engine, Listen, Mounted
from modelshelf.engines.table import engine_called, require_served
from modelshelf.errors import (
    EngineDied,
    EngineListsOther,
    EngineTooSlow,
    InstanceRuns,
    ModelshelfError,
    PortTaken,
    Unavailable,
    Unprotected,
)
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName
from modelshelf.nodes import processes
from modelshelf.nodes.contract import Process
from modelshelf.stop import StopToken
from modelshelf.wire import Authorization, Wire

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What someone asks for; kept in the template's revision, so that a restart asks for the same. No secret is in it."""

    engine: str = "llamacpp"
    bind: str = "127.0.0.1"
    port: int = 0
    """0 is any free port; the one that was taken is kept through restarts."""
    arguments: tuple[str, ...] = ()
    key_block: str = ""
    unprotected: bool = False

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "arguments": list(self.arguments)}


@dataclass(frozen=True, slots=True)
class LaunchPlan:
    """What a launch does; sizes in bytes."""

    instance: InstanceName
    ref: ModelRef
    served_name: ServedName
    engine: str
    bind: str
    port: int
    size: int
    cached: bool
    running: bool
    """It runs already, just as asked: nothing is to be done."""

    def to_json(self) -> dict[str, object]:
        named = {"instance": str(self.instance), "ref": str(self.ref), "served_name": str(self.served_name)}
        return {**asdict(self), **named}


def require_protected(engine: Engine, request: LaunchRequest) -> None:
    """Beyond loopback an engine asks for a key, or someone says that it shall not."""
    if request.bind in _LOOPBACK or request.key_block or request.unprotected:
        return
    if engine.takes_key:
        reason, advice = "no key was named", "Store one with `modelshelf login engine NAME` and launch with `--key NAME`."
    else:
        reason, advice = f"{engine.name} knows no keys", "Launch with `--unprotected` if that is meant."
    raise Unprotected(bind=request.bind, reason=reason, advice=advice)


def as_kept(
    library: Library, asking: ProjectName, name: InstanceName, target: Version, served: ServedName | None, request: LaunchRequest
) -> tuple[ServedName, LaunchRequest]:
    """What was asked for; where nothing was, what the instance of that name and version was started with before."""
    with library.catalog.reading() as connection:
        there = [one for one in instances.page(connection, asking) if one.name == name]
    if request != LaunchRequest() or not there or there[0].serves[0].version_id != target.id:
        return served or ServedName(target.model.text), request
    kept = {**there[0].settings, "arguments": tuple(there[0].settings["arguments"])}
    return served or there[0].serves[0].served_name, LaunchRequest(**kept)


def plan_launch(
    library: Library, asking: ProjectName, name: InstanceName, target: Version, served: ServedName, request: LaunchRequest
) -> LaunchPlan:
    """What would be done; raises what a launch would raise before anything starts."""
    engine = _engine_for(library, target, request)
    with library.catalog.reading() as connection:
        files = versions.files(connection, asking, target.id)
        there = [one for one in instances.page(connection, asking) if one.name == name]
    running = bool(there) and is_running(library, there[0])
    if running:
        _require_as_asked(there[0], target, served, request)
    port = there[0].port if running else _port_for(there[0] if there else None, request)
    cached = target.image is not None and library.node.holds(target.image, files)
    size = sum(file.size for file in files)
    return LaunchPlan(name, target.ref, served, engine.name, request.bind, port, size, cached, running)


def record_start(
    library: Library, asking: ProjectName, name: InstanceName, target: Version, served: ServedName, request: LaunchRequest
) -> Instance:
    """The instance and the template revision that it runs are recorded, before anything is started."""
    engine = _engine_for(library, target, request)
    with library.catalog.writing() as connection:
        there = [one for one in instances.page(connection, asking) if one.name == name]
        if there and (is_running(library, there[0]) or library.node.find(there[0].label) is not None):
            _require_as_asked(there[0], target, served, request)
            return there[0]  # also the one that a killed launch left: it is found by its label and proven next
        port = _port_for(there[0] if there else None, request)
        revision_id = instances.write_template(
            connection, asking, str(name), engine=engine.name, settings=request.to_json(), serves=[(target, served)]
        )
        recorded = instances.record(
            connection, asking, name, revision_id=revision_id, node_id=library.node_id,
            label=there[0].label if there else uuid.uuid4().hex, bind=request.bind, port=port,
        )  # fmt: skip
    reach("instance.recorded")
    return recorded


def start(library: Library, asking: ProjectName, which: Instance, folder: Path, key: str) -> Instance:
    """Its engine runs, as a process of its own that outlives us; which process that is, is recorded."""
    engine = engine_called(which.engine, library.settings)
    mounted = _mounted(library, asking, which, folder)
    command = engine.command(mounted, _listen(library, which, key), which.settings["arguments"])
    process = library.node.find(which.label)
    if process is None:
        require_free(which.bind, which.port)
        process = library.node.start(which.label, command, log_file(library, which))
        reach("instance.spawned")
    with library.catalog.writing() as connection:
        instances.change(
            connection, which.id, process=asdict(process), command=list(command.arguments), notes=list(command.left_out)
        )
        started = instances.find(connection, asking, which.name)
    reach("instance.pid_recorded")
    return started


@dataclass(frozen=True, slots=True)
class Probed:
    """Seconds from the start of the wait to each of these."""

    engine_up: float
    model_visible: float
    first_token: float


def wait_until_ready(
    library: Library, asking: ProjectName, which: Instance, folder: Path, key: str, stop: StopToken, limits: Limits = DEFAULT
) -> Probed:
    """The engine answers, lists the model under its served name, and one token came back.

    If it does not, it is stopped and the instance says why, with the engine's last log lines.
    """
    engine = engine_called(which.engine, library.settings)
    (mounted,) = _mounted(library, asking, which, folder)
    url = _listen(library, which, key).url
    wire, authorization = Wire(), Authorization.bearer(key) if key else None
    began = time.monotonic()
    try:
        _until(library, which, stop, "answer", limits, lambda: engine.is_up(wire, url))
        up = time.monotonic()
        names = engine.listed(wire, url, authorization)
        if str(mounted.served_name) not in names:
            raise EngineListsOther(
                engine=engine.name, found=", ".join(names) or "nothing", expected=mounted.served_name, instance=which.name
            )
        listed = time.monotonic()
        engine.first_token(wire, url, authorization, mounted)
        token = time.monotonic()
    except ModelshelfError as error:
        stop_engine(library, which, limits)
        with library.catalog.writing() as connection:
            instances.change(connection, which.id, state="failed", reason=str(error), process=None)
        raise
    return Probed(up - began, listed - began, token - began)


def mark_ready(library: Library, asking: ProjectName, which: Instance, stages: dict[str, float], who: str) -> Instance:
    with library.catalog.writing() as connection:
        instances.mark_ready(connection, asking, which, stages, who)
        ready = instances.find(connection, asking, which.name)
    reach("instance.ready")
    return ready


def stop_instance(library: Library, asking: ProjectName, name: InstanceName, who: str) -> Instance:
    """It does not run; what it was started with is kept for the next start. Safe to run again."""
    with library.catalog.reading() as connection:
        which = instances.find(connection, asking, name)
    stop_engine(library, which)
    with library.catalog.writing() as connection:
        instances.change(connection, which.id, state="stopped", reason=None, process=None)
        if which.state != "stopped":
            journal.record_event(connection, asking, who, "instance.stopped", str(name))
        return instances.find(connection, asking, name)


def delete_instance(library: Library, asking: ProjectName, name: InstanceName, who: str) -> None:
    """It is stopped and gone, with its log and what it wrote."""
    which = stop_instance(library, asking, name, who)
    with library.catalog.writing() as connection:
        instances.remove(connection, asking, which, who)
    library.node.discard_instance(which.label)


def stop_engine(library: Library, which: Instance, limits: Limits = DEFAULT) -> None:
    """The process that carries the instance's label has ended, if there was one."""
    process = _recorded(which)
    if process is None or not library.node.alive(process):
        process = library.node.find(which.label)
    if process is not None:
        library.node.stop(process, limits.engine_stop_seconds)


def is_running(library: Library, which: Instance) -> bool:
    """It is ready by its row, and the process is still the one that was started."""
    process = _recorded(which)
    return which.state == "ready" and process is not None and library.node.alive(process)


def seen_state(library: Library, which: Instance) -> tuple[str, str | None]:
    """What the instance is now, as seen and not as recorded, and why."""
    process = _recorded(which)
    alive = process is not None and library.node.alive(process)
    if which.state == "ready" and not alive:
        return "failed", f"its engine is gone; see `modelshelf logs {which.name}`"
    if which.state == "starting" and not alive:
        return "failed", "its launch was interrupted; launch it again"
    return which.state, which.reason


def log_file(library: Library, which: Instance) -> Path:
    return library.node.instance_folder(which.label) / "engine.log"


def require_free(bind: str, port: int) -> None:
    """Raise PortTaken if something listens there."""
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
        except OSError as error:
            raise PortTaken(port=port, bind=bind, by=f" ({error.strerror})") from error


def _engine_for(library: Library, target: Version, request: LaunchRequest) -> Engine:
    engine = engine_called(request.engine, library.settings)
    if target.format is not None:
        require_served(engine, target.format, target.ref)
    engine.require_installed()
    require_protected(engine, request)
    return engine


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


def _require_as_asked(there: Instance, target: Version, served: ServedName, request: LaunchRequest) -> None:
    """A running instance is what was asked for, or the request is refused: it is never changed under its users."""
    (serving,) = there.serves
    found = {**there.settings, "version": str(serving.ref), "served as": str(serving.served_name)}
    wanted = {**request.to_json(), "version": str(target.ref), "served as": str(served)}
    if not request.port:
        wanted["port"] = found["port"]
    differing = [key for key in wanted if found.get(key) != wanted[key]]
    if differing:
        raise InstanceRuns(
            instance=there.name,
            state="running",
            found=", ".join(f"{key} {found.get(key)}" for key in differing),
            wanted=", ".join(f"{key} {wanted[key]}" for key in differing),
        )


def _mounted(library: Library, asking: ProjectName, which: Instance, folder: Path) -> list[Mounted]:
    (serving,) = which.serves
    with library.catalog.reading() as connection:
        target = versions.get(connection, asking, serving.version_id)
        files = versions.files(connection, asking, target.id)
    assert target.format is not None
    return [Mounted(serving.served_name, target.category, target.format, folder, files)]


def _listen(library: Library, which: Instance, key: str) -> Listen:
    if not key:
        return Listen(which.bind, which.port)
    file = library.node.instance_folder(which.label) / "key"
    file.touch(mode=0o600)
    file.write_text(f"{key}\n")
    return Listen(which.bind, which.port, file)


def _recorded(which: Instance) -> Process | None:
    if which.process is None:
        return None
    return Process(int(which.process["pid"]), int(which.process["started"]), str(which.process["boot"]))


def _until(library: Library, which: Instance, stop: StopToken, stage: str, limits: Limits, holds: Callable[[], bool]) -> None:
    """Ask again until it holds; a process that ended, or one that takes too long, is an error with its last lines."""
    until = time.monotonic() + limits.engine_start_seconds
    process = _recorded(which)
    while True:
        try:
            if holds():
                return
        except Unavailable:  # nothing listens yet
            pass
        tail = _tail(log_file(library, which), limits.log_tail_lines)
        if process is None or not library.node.alive(process):
            status = processes.exit_status(process.pid) if process else "unknown"
            raise EngineDied(engine=which.engine, status=status, tail=tail, instance=which.name)
        if time.monotonic() > until:
            seconds = limits.engine_start_seconds
            raise EngineTooSlow(engine=which.engine, stage=stage, seconds=seconds, tail=tail, instance=which.name)
        stop.wait(0.05)


def _tail(log: Path, lines: int) -> str:
    """The last lines, of at most 64 KiB of log."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - (64 << 10)))
        return " | ".join(line.strip() for line in file.read().decode(errors="replace").splitlines()[-lines:] if line.strip())
