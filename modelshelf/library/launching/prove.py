"""A started engine is ready when it lists each model and each has returned a token."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from modelshelf.catalog import instances
from modelshelf.catalog.instances import Instance
from modelshelf.crash_points import reach
from modelshelf.engines.contract import Engine, Mounted
from modelshelf.engines.table import engine_called
from modelshelf.errors import EngineDied, EngineListsOther, EngineTooSlow, ModelshelfError, Unavailable
from modelshelf.library.launching.start import listen_of, mounted_of
from modelshelf.library.opening import Library
from modelshelf.library.running import log_file, recorded, stop_engine, tail
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import InstanceName, ProjectName
from modelshelf.nodes import processes
from modelshelf.stop import StopToken
from modelshelf.wire import Authorization, Wire


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
    mounted = mounted_of(library, asking, which)
    url = listen_of(library, which, key).url
    wire, authorization = Wire(), Authorization.bearer(key) if key else None
    began = time.monotonic()
    try:
        _until(library, which, stop, "answer", limits, lambda: engine.is_up(wire, url))
        up = time.monotonic()
        require_listed(engine, engine.listed(wire, url, authorization), mounted, which.name)
        listed = time.monotonic()
        for one in mounted:
            stop.check()
            engine.first_answer(wire, url, authorization, one)
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
    url = listen_of(library, which, "").url
    try:
        require_listed(engine, engine.listed(Wire(), url, None), mounted_of(library, asking, which), which.name)
    except ModelshelfError as error:
        return str(error)
    return None


def mark_ready(library: Library, asking: ProjectName, which: Instance, stages: dict[str, float], who: str) -> Instance:
    with library.catalog.writing() as connection:
        instances.mark_ready(connection, asking, which, stages, who)
        ready = instances.find(connection, asking, which.name)
    reach("instance.ready")
    return ready


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
