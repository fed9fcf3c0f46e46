"""The library that this run works on: this machine's, opened once a process; and which run this is."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from prefect.context import FlowRunContext
from prefect.runtime import flow_run

from modelshelf.catalog import journal
from modelshelf.json_form import as_json
from modelshelf.library.opening import Library, Shelf
from modelshelf.names import ASKED_BY
from modelshelf.settings import load_settings

_GIVEN: ContextVar[tuple[Library, str] | None] = ContextVar("given", default=None)


@functools.cache
def _opened() -> Shelf:
    return Shelf.open(load_settings())


def shelf() -> Shelf:
    """Return what this process can reach by its settings; within `working_on`, that library's store and node."""
    given = _GIVEN.get()
    return _opened() if given is None else Shelf.of(given[0])


def library() -> Library:
    """Return the library of `working_on`, else the one on this machine."""
    given = _GIVEN.get()
    return _opened().library(_opened().settings.node_name) if given is None else given[0]


@contextmanager
def working_on(given: Library, run: str) -> Iterator[None]:
    """Let flows that are called here, without Prefect, work on this library as the run of that name."""
    token = _GIVEN.set((given, run))
    try:
        yield
    finally:
        _GIVEN.reset(token)


def in_run() -> bool:
    """Return whether Prefect runs this; if not, there is nobody to report to."""
    return FlowRunContext.get() is not None


def run_id() -> str:
    """Return the id by which the command finds what the run planned and how far it is."""
    given = _GIVEN.get()
    return str(flow_run.id) if given is None else given[1]


def who() -> str:
    """Return who did it, for histories: the person who asked for the run, or the schedule, and the run by its name."""
    if (given := _GIVEN.get()) is not None:
        return f"run {given[1]}"
    context = FlowRunContext.get()
    run = context.flow_run if context is not None else None
    if run is None:
        return f"run {flow_run.name}"
    by = run.labels.get(ASKED_BY, "the schedule" if run.auto_scheduled else "")
    return f"{by}, run {run.name}" if by else f"run {run.name}"


P = TypeVar("P")


def recorded(plan: P) -> P:
    """Record the plan with its run before the run acts, for the command to show; return it."""
    with library().catalog.writing() as connection:
        journal.record_plan(connection, run_id(), as_json(plan))
    return plan
