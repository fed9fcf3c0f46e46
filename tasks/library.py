"""The library that this run works on: this machine's, opened once a process."""

from __future__ import annotations

import functools

from prefect.runtime import flow_run

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
