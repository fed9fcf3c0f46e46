"""Instants at which a process may be killed and nothing may be lost. In the library each is a no-op.

Tests put a function in place of `on_reach` that kills the process; they go over POINTS, so a new point is tested by
being here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

Point = Literal[
    "file.begun",
    "file.written",
    "file.renamed",
    "part.written",
    "part.journaled",
    "commit.hashed",
    "commit.fsynced",
    "commit.renamed",
    "commit.folder_fsynced",
    "store.unlinking",
    "import.reserved",
    "import.fetched",
    "import.manifest_stored",
    "import.before_publish",
    "import.published",
    "evict.decided",
    "copy.arrived",
    "copy.recorded",
    "replica.locked",
    "replica.begun",
    "replica.linked",
    "replica.marked",
    "replica.renamed",
    "replica.recorded",
    "instance.recorded",
    "instance.spawned",
    "instance.pid_recorded",
    "instance.ready",
    "audit.mending",
    "delete.row_gone",
    "delete.replica_leaving",
    "delete.manifest_gone",
    "delete.blob_gone",
]
POINTS: tuple[str, ...] = get_args(Point)

on_reach: Callable[[str], None] | None = None


def reach(point: Point) -> None:
    if on_reach is not None:
        on_reach(point)
