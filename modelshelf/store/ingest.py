"""How one blob arrives in a directory store: written once, hashed as it arrives, verified before it is visible."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from modelshelf.crash_points import reach
from modelshelf.digest import Blob, Digest
from modelshelf.errors import DigestMismatch, SizeMismatch, StoreDamaged, WriteFailed
from modelshelf.store.hashing import FrontHasher
from modelshelf.transfer import Span

_JOURNAL_FORMAT = 1


class DirectoryIngest:
    """See `contract.Ingest`. The lock on the data file says that a process is alive and at work on it."""

    def __init__(self, root: Path, descriptor: int, data: Path, size: int) -> None:
        self.size = size
        self.resumed = False
        self._root = root
        self._data = data
        self._journal = data.with_suffix(".parts")
        self._descriptor = descriptor
        self._validator: str | None = None
        self._written: dict[int, int] = {}
        """Start of each run of bytes that has been written, and its end."""
        self._finished: list[Span] = []
        self._front = 0
        self._lock = threading.Lock()
        self._hasher = FrontHasher(descriptor)

    @classmethod
    def begin(cls, root: Path, key: Digest, size: int) -> Self:
        """Go on where an interrupted fetch of `key` stopped, or begin anew."""
        for data in sorted((root / "ingest").glob(f"{key.hex}.*.data")):
            if (descriptor := _lock_abandoned(data)) is None:
                continue
            ingest = cls(root, descriptor, data, size)
            if ingest._read_journal():
                return ingest
            ingest.discard()
        data = root / "ingest" / f"{key.hex}.{uuid.uuid4().hex}.data"
        with removing_failed_writes(f"{size} bytes", data):
            descriptor = os.open(data, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        _try_lock(descriptor)
        ingest = cls(root, descriptor, data, size)
        with ingest._discarding_failed_writes():
            if size:
                os.posix_fallocate(descriptor, 0, size)
            ingest._write_journal()
        return ingest

    @classmethod
    def discard_abandoned(cls, root: Path, data: Path) -> bool:
        """Remove this place if no process is at it; True if it is gone."""
        if (descriptor := _lock_abandoned(data)) is None:
            return False
        with cls(root, descriptor, data, 0) as ingest:
            ingest.discard()
        return True

    def validator(self) -> str | None:
        return self._validator

    def begin_with(self, validator: str | None) -> None:
        if validator != self._validator:
            self._validator = validator
            self._write_journal()

    def missing(self, part_bytes: int) -> list[Span]:
        spans: list[Span] = []
        front = 0
        for done in [*sorted(self._finished), Span(self.size, self.size)]:
            spans += [Span(at, min(at + part_bytes, done.start)) for at in range(front, done.start, part_bytes)]
            front = max(front, done.end)
        return spans

    def write_at(self, offset: int, *pieces: bytes) -> None:
        self._hasher.give_way()
        with self._discarding_failed_writes():
            at = offset + os.pwritev(self._descriptor, pieces, offset)
            end = offset + sum(map(len, pieces))
            while at < end:
                at += os.pwrite(self._descriptor, memoryview(b"".join(pieces))[at - offset :], at)
        self._note(offset, end)

    def finish(self, span: Span) -> None:
        reach("part.written")
        with self._lock, self._discarding_failed_writes():
            self._finished.append(span)
            with self._journal.open("a") as journal:
                journal.write(f"{span.start} {span.end}\n")
        reach("part.journaled")

    def arrived(self) -> int:
        return sum(len(span) for span in self._finished)

    def reset(self) -> None:
        self._hasher.close()
        self._hasher = FrontHasher(self._descriptor)
        self._validator = None
        self.resumed = False
        with self._lock:
            self._written, self._finished, self._front = {}, [], 0
        self._write_journal()

    def look(self) -> BinaryIO:
        file = os.fdopen(os.dup(self._descriptor), "rb")
        file.seek(0)
        return file

    def digest(self) -> Digest:
        if self._front < self.size:
            raise SizeMismatch(what=self._data.name, whose="the caller", expected=self.size, found=self._front)
        return Digest(self._hasher.finish(self.size))

    def commit(self, digest: Digest, *, what: str, whose: str) -> Blob:
        if self._front < self.size:
            raise SizeMismatch(what=what, whose=whose, expected=self.size, found=self._front)
        with self._discarding_failed_writes():
            found = self.digest()
        reach("commit.hashed")
        if found != digest:
            self.discard()
            raise DigestMismatch(what=what, whose=whose, expected=digest, found=found, size=f"{self.size:,}")
        with self._discarding_failed_writes():
            os.fchmod(self._descriptor, 0o444)
            os.fsync(self._descriptor)
            reach("commit.fsynced")
            self._make_visible(digest)
        self._journal.unlink(missing_ok=True)
        reach("commit.folder_fsynced")
        return Blob(digest, self.size)

    def discard(self) -> None:
        self._hasher.close()
        self._data.unlink(missing_ok=True)
        self._journal.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._hasher.close()
        with suppress(OSError):
            os.close(self._descriptor)

    def _make_visible(self, digest: Digest) -> None:
        folder_path = self._root / "blobs" / "sha256"
        folder = os.open(folder_path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            try:
                there = os.stat(digest.hex, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                os.rename(self._data, digest.hex, dst_dir_fd=folder)
                reach("commit.renamed")
                try:
                    os.fsync(folder)
                except OSError:
                    os.unlink(digest.hex, dir_fd=folder)
                    raise
                return
            if not stat.S_ISREG(there.st_mode) or there.st_size != self.size:
                self.discard()
                raise StoreDamaged(path=folder_path / digest.hex, reason="it is a link, or of another size")
            self._data.unlink(missing_ok=True)
        finally:
            os.close(folder)

    def _note(self, start: int, end: int) -> None:
        """Bytes were written: move the front over every run that now touches it."""
        with self._lock:
            for begin, until in self._written.items():
                if until == start:
                    self._written[begin] = end
                    break
            else:
                self._written[start] = end
            while (reached := self._written.pop(self._front, None)) is not None:
                self._front = reached
            front = self._front
        self._hasher.advance(front)

    def _read_journal(self) -> bool:
        """Take over what is noted; False if it cannot be trusted as progress. The digest proves it in the end."""
        try:
            head, *lines = self._journal.read_text().splitlines()
            match json.loads(head):
                case {"format": int(form), "size": int(size), "validator": str() | None as validator}:
                    if form != _JOURNAL_FORMAT or size != self.size:
                        return False
                case _:
                    return False
            spans = [Span(*map(int, line.split())) for line in lines if line.count(" ") == 1]
        except (OSError, ValueError, TypeError):
            return False
        if os.fstat(self._descriptor).st_size != self.size:
            return False
        front = 0
        for span in sorted(spans):
            if not front <= span.start < span.end <= self.size:
                return False
            front = span.end
        self._validator = validator
        self._finished = spans
        self.resumed = bool(spans)
        for span in sorted(spans):
            self._note(span.start, span.end)
        return True

    def _write_journal(self) -> None:
        head = {"format": _JOURNAL_FORMAT, "size": self.size, "validator": self._validator}
        lines = [json.dumps(head), *(f"{span.start} {span.end}" for span in self._finished)]
        with self._discarding_failed_writes():
            self._journal.write_text("\n".join(lines) + "\n")

    @contextmanager
    def _discarding_failed_writes(self) -> Iterator[None]:
        try:
            with removing_failed_writes("content", self._data):
                yield
        except WriteFailed:
            self._data.unlink(missing_ok=True)
            self._journal.unlink(missing_ok=True)
            raise


@contextmanager
def removing_failed_writes(what: str, path: Path) -> Iterator[None]:
    """An OSError becomes WriteFailed: the disk's trouble, worded."""
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror or error)
        raise WriteFailed(what=what, path=path, reason=reason) from error


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the file system has no locks: then nothing is ever taken over
        return False
    return True


def _lock_abandoned(data: Path) -> int | None:
    """The file, if it is ours, nobody else's name for something, and no process is at work on it."""
    try:
        descriptor = os.open(data, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    found = os.fstat(descriptor)
    ours = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1
    if ours and _try_lock(descriptor):
        try:
            named = data.lstat()
            if (named.st_dev, named.st_ino) == (found.st_dev, found.st_ino):
                return descriptor
        except FileNotFoundError:  # committed between the listing and the lock
            pass
    os.close(descriptor)
    return None
