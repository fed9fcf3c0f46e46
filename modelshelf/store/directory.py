"""A store on a file system.

    blobs/sha256/<hex>          committed: read-only, its bytes have this digest
    ingest/<key>.<uuid>.data    arriving: invisible, locked by the process that writes it
    ingest/<key>.<uuid>.parts   which of its bytes have arrived
    locks                       ranges of it are the locks by digest: see `locks`

No path is followed through a symbolic link: one that someone planted is reported, not used.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from modelshelf.crash_points import reach
from modelshelf.digest import Blob, Digest
from modelshelf.errors import BadDigest, BlobMissing, StoreDamaged
from modelshelf.limits import DEFAULT, Limits
from modelshelf.stop import StopToken
from modelshelf.store import files
from modelshelf.store.files import folder_at, removing_failed_writes, stamp_in, stamp_of
from modelshelf.store.ingest import DirectoryIngest
from modelshelf.store.locks import DigestLocks
from modelshelf.store.parts import arrived_by

_FOLDERS = ("blobs", "blobs/sha256", "ingest")
_STEP = 1 << 20


class DirectoryStore:
    """The store under `root`, which is made if it is not there."""

    def __init__(self, root: Path, limits: Limits = DEFAULT) -> None:
        self.root = root
        self.locks = DigestLocks(root / "locks", limits)
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name in _FOLDERS:
            (root / name).mkdir(exist_ok=True)
            if not stat.S_ISDIR((root / name).lstat().st_mode):
                raise StoreDamaged(path=root / name, reason="it is a link or a file where a folder was")

    def size_of(self, digest: Digest) -> int | None:
        with self._blob_folder() as folder:
            return self._size_in(folder, digest)

    def open(self, digest: Digest) -> BinaryIO:
        with self._blob_folder() as folder:
            if self._size_in(folder, digest) is None:
                raise BlobMissing(store=self.root, digest=digest)
            return os.fdopen(os.open(digest.hex, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb")

    def read_each(self, digests: Iterable[Digest], at_most: int) -> Iterator[tuple[Digest, bytes | None]]:
        with self._blob_folder() as folder:
            for digest in digests:
                yield digest, _read_at(folder, digest.hex, at_most)

    def path_of(self, digest: Digest) -> Path:
        if self.size_of(digest) is None:
            raise BlobMissing(store=self.root, digest=digest)
        return self.root / "blobs" / "sha256" / digest.hex

    def begin(self, key: Digest, size: int) -> DirectoryIngest:
        return DirectoryIngest.begin(self.root, self.locks, key, size)

    def put(self, content: bytes) -> Blob:
        digest = Digest.of(content)
        with self.begin(digest, len(content)) as ingest:
            ingest.reset()
            ingest.write_at(0, content)
            return ingest.commit(digest, what="what was packed here", whose="the library")

    def delete(self, digest: Digest) -> int:
        with self._blob_folder() as folder:
            found = files.found_in(folder, digest.hex)
            if found is None:
                return 0
            if stat.S_ISDIR(found.st_mode):
                raise StoreDamaged(path=self.root / "blobs" / "sha256" / digest.hex, reason="it is a folder")
            with removing_failed_writes("the removal of a blob", self.root):
                reach("store.unlinking")
                os.unlink(digest.hex, dir_fd=folder)
                os.fsync(folder)
            return found.st_size if stat.S_ISREG(found.st_mode) else 0

    def stamp(self, digest: Digest) -> str | None:
        with self._blob_folder() as folder:
            return stamp_in(folder, digest.hex)

    def stamps(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        with self._blob_folder() as folder:
            found = ((digest, stamp_in(folder, digest.hex)) for digest in digests)
            return {digest: stamp for digest, stamp in found if stamp is not None}

    def only_linked(self, before: str, after: str) -> bool:
        return files.only_linked(before, after)

    def read_through(
        self, digest: Digest, stop: StopToken, on_bytes: Callable[[int], None] = lambda _count: None
    ) -> tuple[str, Digest]:
        with self.open(digest) as file:
            stamp = stamp_of(os.fstat(file.fileno()))  # before the first byte: who writes meanwhile changes it
            seen = hashlib.sha256()
            while piece := file.read(_STEP):
                stop.check()
                seen.update(piece)
                on_bytes(len(piece))
        return stamp, Digest(seen.hexdigest())

    def blobs(self) -> Iterator[Blob]:
        with os.scandir(self.root / "blobs" / "sha256") as entries:
            for entry in entries:
                with suppress(BadDigest, FileNotFoundError):
                    yield Blob(Digest(entry.name), entry.stat(follow_symlinks=False).st_size)

    def foreign(self) -> list[Path]:
        """What lies among the blobs and has no digest for its name: nobody uses it."""
        found = []
        with os.scandir(self.root / "blobs" / "sha256") as entries:
            for entry in entries:
                try:
                    Digest(entry.name)
                except BadDigest:
                    found.append(Path(entry.path))
        return found

    def age_of(self, digest: Digest) -> float:
        """Seconds since the blob was committed, or adopted by an import that found it there; 0 if it is not there."""
        with self._blob_folder() as folder:
            found = files.found_in(folder, digest.hex)
            return 0.0 if found is None else time.time() - max(found.st_mtime, found.st_ctime)

    def free_bytes(self) -> int:
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize

    def partial(self) -> Iterator[tuple[Path, int]]:
        """Every place where content is arriving or was, and the bytes that have arrived there."""
        for path in (self.root / "ingest").glob("*.data"):
            yield path, arrived_by(path.with_suffix(".parts"))

    def reserved(self) -> int:
        """Bytes on disk that are set aside for what arrives, arrived or not: its whole place is taken at the start."""
        total = 0
        for path in (self.root / "ingest").glob("*.data"):
            with suppress(FileNotFoundError):  # committed meanwhile
                total += path.lstat().st_blocks * 512
        return total

    def discard_abandoned(self, seconds: float) -> int:
        """Remove what was not written to for so long, unless a process is at it; the bytes freed."""
        before = time.time() - seconds
        freed = 0
        for data, _ in self.partial():
            with suppress(FileNotFoundError):
                size, changed = data.lstat().st_blocks * 512, data.lstat().st_mtime
                if changed < before and DirectoryIngest.discard_abandoned(self.root, self.locks, data, before):
                    freed += size
        for journal in (self.root / "ingest").glob("*.parts"):
            if not journal.with_suffix(".data").exists():  # the data is made first and goes first: nobody is at this
                journal.unlink(missing_ok=True)
        return freed

    @contextmanager
    def _blob_folder(self) -> Iterator[int]:
        with folder_at(self.root, "blobs", "sha256") as folder:
            yield folder

    def _size_in(self, folder: int, digest: Digest) -> int | None:
        try:
            found = os.stat(digest.hex, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise StoreDamaged(path=self.root / "blobs" / "sha256" / digest.hex, reason="it is not a regular file")
        return found.st_size


def _read_at(folder: int, name: str, at_most: int) -> bytes | None:
    """The start of a regular file; None if there is none, or a link in its place."""
    try:
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP):
            return None
        raise
    try:
        return os.read(opened, at_most) if stat.S_ISREG(os.fstat(opened).st_mode) else None
    finally:
        os.close(opened)
