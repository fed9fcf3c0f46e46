"""A store on a file system.

    blobs/sha256/<hex>          committed: read-only, its bytes have this digest
    ingest/<key>.<uuid>.data    arriving: invisible, locked by the process that writes it
    ingest/<key>.<uuid>.parts   which parts of it have arrived

No path is followed through a symbolic link: one that someone planted is reported, not used.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from modelshelf.digest import Blob, Digest
from modelshelf.errors import BadDigest, BlobMissing, StoreDamaged
from modelshelf.store.ingest import DirectoryIngest, removing_failed_writes

_FOLDERS = ("blobs", "blobs/sha256", "ingest")


class DirectoryStore:
    """The store under `root`, which is made if it is not there."""

    def __init__(self, root: Path) -> None:
        self.root = root
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
        return DirectoryIngest.begin(self.root, key, size)

    def put(self, content: bytes) -> Blob:
        digest = Digest.of(content)
        with self.begin(digest, len(content)) as ingest:
            ingest.reset()
            ingest.write_at(0, content)
            return ingest.commit(digest, what="what was packed here", whose="the library")

    def delete(self, digest: Digest) -> int:
        with self._blob_folder() as folder:
            size = self._size_in(folder, digest)
            if size is None:
                return 0
            with removing_failed_writes("the removal of a blob", self.root):
                os.unlink(digest.hex, dir_fd=folder)
                os.fsync(folder)
            return size

    def blobs(self) -> Iterator[Blob]:
        with os.scandir(self.root / "blobs" / "sha256") as entries:
            for entry in entries:
                try:
                    digest = Digest(entry.name)
                except BadDigest as error:
                    raise StoreDamaged(path=entry.path, reason="its name is no digest") from error
                yield Blob(digest, entry.stat(follow_symlinks=False).st_size)

    def age_of(self, digest: Digest) -> float:
        """Seconds since the blob was committed; 0 if it is not there."""
        with self._blob_folder() as folder:
            try:
                return time.time() - os.stat(digest.hex, dir_fd=folder, follow_symlinks=False).st_mtime
            except FileNotFoundError:
                return 0.0

    def free_bytes(self) -> int:
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize

    def partial(self) -> Iterator[tuple[Path, int]]:
        """Every place where content is arriving or was, and the bytes on disk there."""
        for path in (self.root / "ingest").glob("*.data"):
            try:
                yield path, path.lstat().st_blocks * 512
            except FileNotFoundError:  # committed meanwhile
                continue

    def discard_abandoned(self, seconds: float) -> int:
        """Remove what was not written to for so long, unless a process is at it; the bytes freed."""
        oldest = time.time() - seconds
        freed = 0
        for data, size in self.partial():
            if data.lstat().st_mtime < oldest and DirectoryIngest.discard_abandoned(self.root, data):
                freed += size
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
            raise StoreDamaged(path=self.root / "blobs" / "sha256" / digest.hex, reason="it is no regular file")
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


@contextmanager
def folder_at(root: Path, *names: str) -> Iterator[int]:
    """A descriptor of the folder, reached without following a link below `root`."""
    opened = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names:
            try:
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=opened)
            except OSError as error:
                raise StoreDamaged(path=root / name, reason=error.strerror) from error
            os.close(opened)
            opened = below
        yield opened
    finally:
        os.close(opened)
