"""Counting what a job asks of the catalog and of a publisher: these grow unseen, and each costs a user time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine

_BY_THE_CLOCK = "INSERT INTO progress"
"""Samples of a running transfer: how many there are depends on how fast the machine is."""


@dataclass
class Asked:
    """SQL statements, in order, and the number of writing transactions that they were in."""

    statements: list[str] = field(default_factory=list)
    transactions: int = 0

    def __len__(self) -> int:
        return len(self.statements)


@contextmanager
def asked_of_the_catalog() -> Iterator[Asked]:
    """Count the statements within, of every catalog and thread; one with many rows of values is one."""
    seen = Asked()

    def note(_connection: Connection, _cursor: object, statement: str, *_rest: Any) -> None:
        if statement == "BEGIN IMMEDIATE":
            seen.transactions += 1
        elif not statement.startswith(("PRAGMA", "BEGIN", _BY_THE_CLOCK)):
            seen.statements.append(" ".join(statement.split()))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)
