"""A file of this machine, as a source has it: opened without following a link, and copied in one pass."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelshelf.errors import SourceUnreadable


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file on this machine, to be copied in. `size` in bytes, `changed` its time of change as stat tells it (ns)."""

    what: str
    whose: str
    path: Path
    size: int
    changed: int


@contextmanager
def opened(local: LocalFile) -> Iterator[int]:
    """The file for reading: a regular one, and not a link that was put in its place."""
    try:
        descriptor = os.open(local.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise SourceUnreadable(path=local.path, reason=error.strerror) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SourceUnreadable(path=local.path, reason="it is not a regular file")
        yield descriptor
    finally:
        os.close(descriptor)
