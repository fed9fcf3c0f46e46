"""A started engine is ready when it lists each model, each has answered, and a request without the key was refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from modelshelf.catalog import instances
from modelshelf.catalog.instances import Instance
from modelshelf.crash_points import reach
from modelshelf.engines.contract import Engine, Model
from modelshelf.engines.table import engine_called
from modelshelf.errors import (
    EngineDied,
    EngineListsOther,
    EngineNotReady,
    EngineOutOfMemory,
    EngineTooSlow,
    KeyIgnored,
    ModelshelfError,
    NoAnswer,
    Unavailable,
)
from modelshelf.library.launching.models import models_of
from modelshelf.library.launching.request import served_versions
from modelshelf.library.launching.start import Started
from modelshelf.library.memory import killed_for_memory
from modelshelf.library.opening import Library
from modelshelf.library.running import key_of, words_of_start
from modelshelf.names import InstanceName, ProjectName
from modelshelf.stop import StopToken
from modelshelf.wire import Authorization, Url, Wire


class Stage(StrEnum):
    """Where the time of a launch went, in order: the seconds of all stages add up to the whole."""

    QUEUE = "queue"
    REPLICA = "replica"
    CREATE = "create"
    ENGINE_UP = "engine up"
    MODEL_VISIBLE = "model visible"
    FIRST_TOKEN = "first token"  # noqa: S105


@dataclass(frozen=True, slots=True)
class Probed:
    """Seconds from the start of the wait to each of these."""

    engine_up: float
    model_visible: float
    first_token: float


def wait_until_ready(
    library: Library, started: Started, stop: StopToken, waiting: Callable[[float], None] = lambda _seconds: None
) -> Probed:
    """Wait until the engine answers, lists each model under its name and recorded digest, and each has answered a question.

    `waiting` is called with the seconds of silence each time the engine has logged nothing for a minute. Raises EngineDied,
    EngineTooSlow or EngineNotReady with what the engine answered and logged, Stopped. The caller ends the engine then.
    """
    which = started.instance
    engine = engine_called(which.engine)
    wire, url, key = Wire(), Url(which.url), _authorization(library, which)
    began = time.monotonic()
    _until_up(library, which, engine, stop, waiting, lambda: engine.is_up(wire, url))
    up = time.monotonic()
    try:
        require_listed(engine, engine.listed(wire, url, key), started.models)
        listed = time.monotonic()
        for one in started.models:
            stop.check()
            engine.first_answer(wire, url, key, one)
        token = time.monotonic()
        if key is not None:
            require_key_asked(engine, wire, url, started.models, which.name)
    except ModelshelfError as error:
        # also one that might pass: what the engine answered is the reason, and a second try would ask a stopped engine
        raise _not_ready(library, which, engine, error) from error
    return Probed(up - began, listed - began, token - began)


def require_listed(engine: Engine, listed: Mapping[str, str | None], models: Sequence[Model]) -> None:
    """Raise EngineListsOther unless each model is listed under its name, and with the digest that is recorded."""
    for one in models:
        shown, wanted = engine.listed_name(one.served_name), engine.identity(one)
        if shown not in listed:
            found = ", ".join(sorted(listed)) or "nothing"
            raise EngineListsOther(engine=engine.name, found=found, expected=shown)
        if wanted is not None and listed[shown] != wanted:
            found = f"{shown} with digest {str(listed[shown])[:12]}"
            raise EngineListsOther(engine=engine.name, found=found, expected=f"digest {wanted[:12]}")


def require_key_asked(engine: Engine, wire: Wire, url: Url, models: Sequence[Model], name: InstanceName) -> None:
    """Raise KeyIgnored if the engine answers a request that carries no key."""
    for one in models:
        if not engine.refuses_without_key(wire, url, one):
            raise KeyIgnored(engine=engine.name, model=one.served_name, instance=name)


def listing_differs(library: Library, asking: ProjectName, which: Instance, *, seconds: int | None = None) -> str | None:
    """Return in what a running engine differs from what is recorded: the models it lists, or whether it asks for its key.

    An engine that takes longer than `seconds` for an answer differs too.
    """
    engine = engine_called(which.engine)
    wire, url, key = Wire(most_seconds=seconds), Url(which.url), _authorization(library, which)
    try:
        with library.catalog.reading() as connection:
            serves = served_versions(connection, asking, which.serves)
        models = [one.model for one in models_of(library, asking, serves, laid_out=False)]
        require_listed(engine, engine.listed(wire, url, key), models)
        if key is not None:
            require_key_asked(engine, wire, url, models, which.name)
    except NoAnswer as error:
        return f"the engine runs and did not answer within {error.facts['seconds']} s"
    except ModelshelfError as error:
        return str(error)
    return None


def mark_ready(library: Library, asking: ProjectName, started: Started, stages: dict[str, float], who: str) -> Instance:
    """Record that the instance serves, and in how many seconds each stage of its start was passed."""
    with library.catalog.writing() as connection:
        ready = instances.mark_ready(connection, asking, started.instance, stages, who)
    reach("instance.ready")
    return ready


def _authorization(library: Library, which: Instance) -> Authorization | None:
    key = key_of(library, which)
    return Authorization.bearer(key) if key else None


def _not_ready(library: Library, which: Instance, engine: Engine, error: ModelshelfError) -> ModelshelfError:
    if (killed := killed_for_memory(library, which)) is not None:
        return EngineOutOfMemory(engine=engine.name, reason=killed, instance=which.name)
    log = words_of_start(library, which, engine)
    return EngineNotReady(engine=engine.name, reason=_answered(error), log=log, instance=which.name)


def _answered(error: ModelshelfError) -> str:
    """What the engine answered, without what the error's class says of downloads."""
    if "status" in error.facts:
        return f"it answered the request for {error.facts.get('what', 'a model')} with status {error.facts['status']}" + (
            error.facts.get("detail", "")
        )
    return error.sentence.rstrip(".")


def _until_up(
    library: Library, which: Instance, engine: Engine, stop: StopToken, waiting: Callable[[float], None], up: Callable[[], bool]
) -> None:
    """Ask again until the engine is up; a process that ended, or one that takes too long, is an error with its reason."""
    limits = library.limits
    until = time.monotonic() + limits.engine_start_seconds
    size, quiet_since, reported = -1, time.monotonic(), 0
    while True:
        try:
            if up() and library.node.listens(which.label, which.port):  # else another that raced for the port answers
                return
        except Unavailable:  # nothing listens yet
            pass
        except ModelshelfError as error:
            raise _not_ready(library, which, engine, error) from error
        clock = time.monotonic()
        if library.node.find(which.label) != which.handle:
            if (killed := killed_for_memory(library, which)) is not None:
                raise EngineOutOfMemory(engine=which.engine, reason=killed, instance=which.name)
            words, status = words_of_start(library, which, engine), library.node.exit_status(which.label)
            raise EngineDied(engine=which.engine, status=status, log=words, instance=which.name)
        if clock > until:
            seconds, words = limits.engine_start_seconds, words_of_start(library, which, engine)
            raise EngineTooSlow(engine=which.engine, stage="answer", seconds=seconds, log=words, instance=which.name)
        if (found := library.node.logged(which.label)) != size:
            size, quiet_since, reported = found, clock, 0
        elif clock - quiet_since >= (reported + 1) * limits.engine_quiet_seconds:
            reported += 1
            waiting(clock - quiet_since)
        stop.wait(0.05)
