"""How one blob arrives in a directory store: written once, hashed as it arrives, verified before it is visible."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Self

from modelshelf.crash_points import reach
from modelshelf.digest import Blob, Digest
from modelshelf.errors import DigestMismatch, SizeMismatch, StoreDamaged, WriteFailed
from modelshelf.stop import StopToken
from modelshelf.store.files import digest_in, folder_at, found_in, removing_failed_writes, stamp_in, stamp_of
from modelshelf.store.hashing import FrontHasher
from modelshelf.store.locks import DigestLocks
from modelshelf.store.parts import Journal
from modelshelf.transfer.contract import Span


class DirectoryIngest:
    """See `contract.Ingest`. The lock on the data file says that a process is alive and at work on it."""

    def __init__(self, root: Path, locks: DigestLocks, descriptor: int, data: Path, size: int) -> None:
        self.size = size
        self.resumed = False
        self._root = root
        self._data = data
        self._journal = Journal(data.with_suffix(".parts"), size)
        self._locks = locks
        self._descriptor = descriptor
        self._written: dict[int, int] = {}
        """Start of each run of bytes that has been written, and its end."""
        self._front = 0
        self._lock = threading.Lock()
        self._hasher = FrontHasher(descriptor)

    @classmethod
    def begin(cls, root: Path, locks: DigestLocks, key: Digest, size: int) -> Self:
        """Go on where an interrupted fetch of `key` stopped, or begin anew."""
        for data in sorted((root / "ingest").glob(f"{key.hex}.*.data")):
            if (descriptor := _lock_abandoned(data)) is None:
                continue
            ingest = cls(root, locks, descriptor, data, size)
            if ingest._take_over():
                return ingest
            ingest.discard()
        data = root / "ingest" / f"{key.hex}.{uuid.uuid4().hex}.data"
        with removing_failed_writes(f"{size} bytes", data):
            descriptor = os.open(data, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        _try_lock(descriptor)
        ingest = cls(root, locks, descriptor, data, size)
        with ingest._discarding_failed_writes():
            if size:
                os.posix_fallocate(descriptor, 0, size)
            ingest._journal.write()
        return ingest

    @classmethod
    def discard_abandoned(cls, root: Path, locks: DigestLocks, data: Path, before: float) -> bool:
        """Remove this place if no process is at it and it was last written to `before` that time; True if it is gone."""
        if (descriptor := _lock_abandoned(data)) is None:
            return False
        with cls(root, locks, descriptor, data, 0) as ingest:
            if os.fstat(descriptor).st_mtime >= before:  # asked under the lock: someone may have gone on with it meanwhile
                return False
            ingest.discard()
        return True

    def validator(self) -> str | None:
        return self._journal.validator

    def begin_with(self, validator: str | None) -> None:
        if validator != self._journal.validator:
            with self._lock, self._discarding_failed_writes():
                self._journal.validator = validator
                self._journal.write()

    def missing(self, part_bytes: int) -> list[Span]:
        spans: list[Span] = []
        front = 0
        for done in [*self._journal.spans(), Span(self.size, self.size)]:
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
            self._journal.add(span)
        reach("part.journaled")

    def arrived(self) -> int:
        return self._journal.arrived()

    def reset(self) -> None:
        self._hasher.close()
        self._hasher = FrontHasher(self._descriptor)
        self.resumed = False
        with self._lock, self._discarding_failed_writes():
            self._written, self._front = {}, 0
            self._journal.clear()

    def look(self) -> BinaryIO:
        file = os.fdopen(os.dup(self._descriptor), "rb")
        file.seek(0)
        return file

    def digest(self) -> Digest:
        if self._front < self.size:
            raise SizeMismatch(what=self._data.name, whose="the caller", expected=self.size, found=self._front)
        return Digest(self._hasher.finish(self.size))

    def commit(
        self, digest: Digest, *, what: str, whose: str, stop: StopToken | None = None,
        then: Callable[[Blob], None] = lambda _blob: None,
    ) -> Blob:  # fmt: skip
        if self._front < self.size:
            raise SizeMismatch(what=what, whose=whose, expected=self.size, found=self._front)
        with self._discarding_failed_writes():
            found = self.digest()
        reach("commit.hashed")
        if found != digest:
            self.discard()
            raise DigestMismatch(what=what, whose=whose, expected=digest, found=found, size=f"{self.size:,}")
        with self._discarding_failed_writes():
            os.fsync(self._descriptor)
        reach("commit.fsynced")
        with folder_at(self._root, "blobs", "sha256") as folder:
            judged = self._judge(folder, digest)
            with self._locks.removing(digest, stop):
                with self._discarding_failed_writes():
                    blob = self._make_visible(folder, digest, judged)
                then(blob)
        self._journal.remove()
        reach("commit.folder_fsynced")
        return blob

    def discard(self) -> None:
        self._hasher.close()
        self._data.unlink(missing_ok=True)
        self._journal.remove()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._hasher.close()
        self._journal.close()
        with suppress(OSError):
            os.close(self._descriptor)

    def _judge(self, folder: int, digest: Digest) -> tuple[str | None, bool]:
        """What lies at the blob's place, by its stamp, and whether its bytes are the right ones: it is read for that."""
        stamp = stamp_in(folder, digest.hex)
        if stamp is None or not stamp.startswith(f"{self.size} "):
            return stamp, False
        try:
            return stamp, digest_in(folder, digest.hex) == digest
        except OSError:  # gone meanwhile, or a part of the disk that cannot be read: what was proven takes its place
            return stamp, False

    def _make_visible(self, folder: int, digest: Digest, judged: tuple[str | None, bool]) -> Blob:
        """What was proven is at the blob's place: what was there before if that is as true, since others have links to it.

        The caller holds the digest's lock. What lay there may have changed since it was judged; then it is judged again.
        """
        if stamp_in(folder, digest.hex) != judged[0]:
            judged = self._judge(folder, digest)
        if judged[1]:
            os.chmod(digest.hex, 0o444, dir_fd=folder)  # also a sign of life: an audit leaves alone what is young
            self._data.unlink(missing_ok=True)
            return Blob(digest, self.size, stamp_in(folder, digest.hex))
        found = found_in(folder, digest.hex)
        if found is not None and stat.S_ISDIR(found.st_mode):
            raise StoreDamaged(path=self._root / "blobs" / "sha256" / digest.hex, reason="it is a folder, where a blob belongs")
        os.fchmod(self._descriptor, 0o444)
        os.rename(self._data, digest.hex, dst_dir_fd=folder)
        reach("commit.renamed")
        try:
            os.fsync(folder)
        except OSError:
            os.unlink(digest.hex, dir_fd=folder)
            raise
        return Blob(digest, self.size, stamp_of(os.fstat(self._descriptor)))

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

    def _take_over(self) -> bool:
        """Go on from what the journal lists; False if it cannot be trusted as progress. The digest proves it in the end."""
        if os.fstat(self._descriptor).st_size != self.size or not self._journal.read():
            return False
        for span in self._journal.spans():
            self.resumed = True
            self._note(span.start, span.end)
        return True

    @contextmanager
    def _discarding_failed_writes(self) -> Iterator[None]:
        try:
            with removing_failed_writes("content", self._data):
                yield
        except WriteFailed:
            self._data.unlink(missing_ok=True)
            self._journal.remove()
            raise


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # another process has it, or the file system has no locks: then nothing is ever taken over
        return False
    return True


def _lock_abandoned(data: Path) -> int | None:
    """Open and lock a partial file that a dead process left. None if it belongs to another user, has a second hard link, or
    if a live process holds its lock."""
    try:
        descriptor = _open_own(data)
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


def _open_own(data: Path) -> int:
    try:
        return os.open(data, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except PermissionError:  # its process died between making it read-only and renaming it
        reading = os.open(data, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(reading).st_nlink == 1:
                os.fchmod(reading, 0o600)
        finally:
            os.close(reading)
        return os.open(data, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
