"""Locks by digest: what is removed, replaced or counted on is so by one process at a time.

A lease fences what a process publishes, not what it does to a disk: a process that was paused past its term (SIGSTOP, a
suspended machine, a stalled disk) wakes and goes on with its next system call. Whoever unlinks or replaces a file therefore
holds its digest's lock, looks again inside it whether that is still meant, and only then acts. Whoever counts on a file
holds the same lock, shared with others who do.

The kernel keeps the lock for a paused process and frees it when the process dies. Locks are ranges of one file (open file
description locks, fcntl(2)): any number of them costs one descriptor. A digest's range is its first twelve bits, so two
digests seldom share one, and a set of 10,000 is a few hundred ranges.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from modelshelf.digest import Digest
from modelshelf.errors import BlobBeingDeleted, StoreDamaged, WriteFailed
from modelshelf.limits import DEFAULT, Limits
from modelshelf.stop import StopToken

_PREFIX_DIGITS = 3
_FLOCK = "hhqqi"
"""struct flock of fcntl(2) on 64-bit Linux: type, whence, start, length, pid."""
_LOOK_SECONDS = 0.05


class DigestLocks:
    """The locks in `file`, which is made when one is first taken. Not to be nested: a second one of the same thread may wait
    for the first."""

    def __init__(self, file: Path, limits: Limits = DEFAULT) -> None:
        self._file, self._limits = file, limits

    @contextmanager
    def removing(self, digest: Digest, stop: StopToken | None = None) -> Iterator[None]:
        """Nobody else removes, replaces or counts on the digest within.

        Raises Stopped, or BlobBeingDeleted with the holder if it is not free within `Limits.lock_seconds`.
        """
        with self._held([digest], fcntl.F_WRLCK, stop or StopToken()):
            yield

    @contextmanager
    def counting_on(self, digests: Collection[Digest], stop: StopToken | None = None) -> Iterator[None]:
        """Nobody removes or replaces these within; others may count on them too. Raises as `removing` does."""
        with self._held(digests, fcntl.F_RDLCK, stop or StopToken()):
            yield

    @contextmanager
    def _held(self, digests: Collection[Digest], kind: int, stop: StopToken) -> Iterator[None]:
        if not digests:
            yield
            return
        try:
            opened = os.open(self._file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreDamaged(path=self._file, reason=error.strerror) from error
        until = time.monotonic() + self._limits.lock_seconds
        try:
            for start, length in _ranges(digests):  # in one order for everybody: two sets never wait for each other
                while not _take(opened, kind, start, length, self._file):
                    if time.monotonic() >= until:
                        wanted = next(digest for digest in digests if start <= _place(digest) < start + length)
                        raise BlobBeingDeleted(digest=wanted, holder=_holder(opened, start, start + length))
                    stop.wait(_LOOK_SECONDS)
            yield
        finally:
            os.close(opened)


def _place(digest: Digest) -> int:
    return int(digest.hex[:_PREFIX_DIGITS], 16)


def _ranges(digests: Collection[Digest]) -> Iterator[tuple[int, int]]:
    """Start and length of each run of places next to each other, in order."""
    places = sorted({_place(digest) for digest in digests})
    first = places[0]
    for place, following in pairwise([*places, places[-1] + 2]):
        if following != place + 1:
            yield first, place + 1 - first
            first = following


def _take(opened: int, kind: int, start: int, length: int, file: Path) -> bool:
    try:
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, struct.pack(_FLOCK, kind, os.SEEK_SET, start, length, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise WriteFailed(what="a lock", path=file, reason=error.strerror or error) from error
    return True


def _holder(opened: int, start: int, end: int) -> str:
    """The process that has a lock in this part of the file, in words. The kernel names none, so we look at who has it open."""
    file = f":{os.fstat(opened).st_ino}"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            texts = [info.read_text() for info in (entry / "fdinfo").iterdir()]
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # another user's, or gone meanwhile
            continue
        if any(_locks_part(line, file, start, end) for text in texts for line in text.splitlines()):
            stopped = ", which is stopped: continue it (`kill -CONT`) or end it" if state == "T" else ""
            return f"process {entry.name}{stopped}"
    return "another run, or a process on another machine"


def _locks_part(line: str, file: str, start: int, end: int) -> bool:
    """A line of fdinfo (proc(5)): `lock: 1: OFDLCK ADVISORY WRITE -1 fe:00:10240019 5 5`, with first and last byte."""
    match line.split():
        case ["lock:", _, "OFDLCK", _, _, _, named, first, last] if named.endswith(file):
            return int(first) < end and (last == "EOF" or int(last) >= start)
    return False
