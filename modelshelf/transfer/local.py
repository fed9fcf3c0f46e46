"""A file of this machine, as a source listed it: opened without following a link, read in one pass, refused if it changed."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelshelf.digest import Digest
from modelshelf.errors import SourceChanged, SourceUnreadable
from modelshelf.stop import StopToken
from modelshelf.transfer.contract import Destination, Downloads

_STEP = 1 << 20


@dataclass(frozen=True, slots=True)
class LocalFile:
    """One file on this machine, to be copied in. `size` in bytes, `changed` its time of change as stat tells it (ns)."""

    what: str
    whose: str
    path: Path
    size: int
    changed: int

    @property
    def address(self) -> str:
        return str(self.path)

    def deliver(self, into: Destination, downloads: Downloads, *, proven: bool) -> None:
        """Copy the file from byte zero. Raises SourceUnreadable, or SourceChanged if it is not, or does not stay, as listed."""
        downloads.on_bytes(-into.arrived())
        into.reset()
        with self.open() as descriptor:
            at = 0
            while piece := os.pread(descriptor, _STEP, at):
                downloads.stop.check()
                if at + len(piece) > self.size:
                    break
                into.write_at(at, piece)
                at += len(piece)
                downloads.on_bytes(len(piece))
            self._require_unchanged(descriptor, at)

    def digest(self, stop: StopToken, on_bytes: Callable[[int], None] = lambda _count: None) -> Digest:
        """Read every byte. Raises SourceUnreadable, or SourceChanged if the file is not, or does not stay, as listed."""
        with self.open() as descriptor, os.fdopen(os.dup(descriptor), "rb", buffering=0) as content:
            found = Digest.of_file(content, stop, lambda piece: on_bytes(len(piece)))
            self._require_unchanged(descriptor, self.size)
        return found

    def start(self, at_most: int) -> bytes:
        """Return the first `at_most` bytes. Raises SourceUnreadable."""
        with self.open() as descriptor, os.fdopen(os.dup(descriptor), "rb") as content:
            return content.read(at_most)

    @contextmanager
    def open(self) -> Iterator[int]:
        """A descriptor for reading: of a regular file, and not of a link that was put in its place."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise SourceUnreadable(path=self.path, reason=error.strerror) from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise SourceUnreadable(path=self.path, reason="it is not a regular file")
            yield descriptor
        finally:
            os.close(descriptor)

    def _require_unchanged(self, descriptor: int, copied: int) -> None:
        found = os.fstat(descriptor)
        if copied != self.size or (found.st_size, found.st_mtime_ns) != (self.size, self.changed):
            raise SourceChanged(path=self.path, before=self.size, after=found.st_size)
