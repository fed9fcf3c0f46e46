"""A store on a file system.

    blobs/sha256/<hex>          committed: read-only, its bytes have this digest
    ingest/<key>.<uuid>.data    arriving: invisible, locked by the process that writes it
    ingest/<key>.<uuid>.parts   which of its bytes have arrived
    locks                       ranges of it are the locks by digest: see `locks`

No path is followed through a symbolic link: one that someone planted is reported, not used.
"""

from __future__ import annotations

import errno
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
from modelshelf.formats.image import Image
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import ModelRef
from modelshelf.stop import StopToken
from modelshelf.store import files
from modelshelf.store.contract import Arriving, Stored
from modelshelf.store.files import folder_at, removing_failed_writes, stamp_in, stamp_of
from modelshelf.store.ingest import DirectoryIngest
from modelshelf.store.locks import DigestLocks
from modelshelf.store.parts import arrived_by
from modelshelf.transfer.local import LocalFile

_FOLDERS = ("blobs", "blobs/sha256", "ingest")


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

    def __str__(self) -> str:
        return str(self.root)

    def sizes(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        with self._blob_folder() as folder:
            found = ((digest, self._size_in(folder, digest)) for digest in digests)
            return {digest: size for digest, size in found if size is not None}

    def open(self, digest: Digest) -> BinaryIO:
        with self._blob_folder() as folder:
            if self._size_in(folder, digest) is None:
                raise BlobMissing(store=self, digest=digest)
            return os.fdopen(os.open(digest.hex, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder), "rb")

    def body(self, digest: Digest) -> LocalFile:
        path = self.path_of(digest)
        found = path.lstat()
        return LocalFile(str(digest), f"the store {self}", path, found.st_size, found.st_mtime_ns)

    def read_each(self, digests: Iterable[Digest], at_most: int) -> Iterator[tuple[Digest, bytes | None]]:
        with self._blob_folder() as folder:
            for digest in digests:
                yield digest, _read_at(folder, digest.hex, at_most)

    def path_of(self, digest: Digest) -> Path:
        if not self.sizes([digest]):
            raise BlobMissing(store=self, digest=digest)
        return self.root / "blobs" / "sha256" / digest.hex

    def begin(self, key: Digest, size: int) -> DirectoryIngest:
        return DirectoryIngest.begin(self.root, self.locks, key, size)

    def put(self, content: bytes) -> Blob:
        digest = Digest.of(content)
        with self.begin(digest, len(content)) as ingest:
            ingest.reset()
            ingest.write_at(0, content)
            return ingest.commit(digest, what="what was packed here", whose="the library")

    def publish(self, image: Image, reference: ModelRef) -> set[Blob]:
        """No other tool asks a folder, and one list of all images would be rewritten at each import."""
        return {self.put(image.config), self.put(image.manifest)}

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
            return stamp, Digest.of_file(file, stop, lambda piece: on_bytes(len(piece)))

    def stored(self, among: Iterable[Digest] | None = None) -> Iterator[Stored]:
        if among is None:
            with os.scandir(self.root / "blobs" / "sha256") as entries:
                for entry in entries:
                    with suppress(BadDigest, FileNotFoundError):
                        yield _stored(Digest(entry.name), entry.stat(follow_symlinks=False))
            return
        with self._blob_folder() as folder:
            for digest in among:
                if (found := files.found_in(folder, digest.hex)) is not None:
                    yield _stored(digest, found)

    def foreign(self) -> Iterator[str]:
        with os.scandir(self.root / "blobs" / "sha256") as entries:
            for entry in entries:
                try:
                    Digest(entry.name)
                except BadDigest:
                    yield entry.name

    def free_bytes(self) -> int:
        disk = os.statvfs(self.root)
        return disk.f_bavail * disk.f_frsize

    def arriving(self) -> Iterator[Arriving]:
        for path in (self.root / "ingest").glob("*.data"):
            with suppress(BadDigest, FileNotFoundError):  # committed meanwhile
                reserved = path.lstat().st_blocks * 512  # an arrival's whole place is taken at its start
                yield Arriving(Digest(path.name.partition(".")[0]), arrived_by(path.with_suffix(".parts")), reserved)

    def discard_abandoned(self, seconds: float) -> int:
        before = time.time() - seconds
        freed = 0
        for data in (self.root / "ingest").glob("*.data"):
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


def _stored(digest: Digest, found: os.stat_result) -> Stored:
    """A commit over a blob that is whole changes its mode, and so the time of its last change: a sign of life."""
    return Stored(digest, found.st_size, time.time() - max(found.st_mtime, found.st_ctime))


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
