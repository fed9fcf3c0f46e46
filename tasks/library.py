"""The library that this run works on: this machine's, opened once a process."""

from __future__ import annotations

import functools
from typing import Any, Protocol, TypeVar

from prefect.runtime import flow_run

from modelshelf.catalog import journal
from modelshelf.library.opening import Library
from modelshelf.settings import load_settings


@functools.cache
def library() -> Library:
    return Library.open(load_settings())


def run_id() -> str:
    """By this the command finds what the run planned and how far it is."""
    return str(flow_run.id)


def who() -> str:
    """Who did it, for histories: the run by its name."""
    return f"run {flow_run.name}"


class Plan(Protocol):
    """What a run will do, as a frozen value."""

    def to_json(self) -> dict[str, Any]: ...


P = TypeVar("P", bound=Plan)


def recorded(plan: P) -> P:
    """The plan, kept with its run before the run acts: the command shows it."""
    with library().catalog.writing() as connection:
        journal.record_plan(connection, run_id(), plan.to_json())
    return plan
