"""Replicas in a folder of this machine.

<image hex>/files/…         hard links to the store's blobs, or copies where the file system makes no link
<image hex>/complete.json   written last; for each copy the stamp that it had when its bytes were proven
.<image hex>.<uuid>/…       being laid out, or leaving: renamed as a whole

A copy is as good as a link: its bytes are proven while it is made, and again whenever its stamp is another.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import stat
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from modelshelf.crash_points import reach
from modelshelf.digest import Digest
from modelshelf.durable import NO_LINK, sync_folder, write_whole
from modelshelf.errors import BlobMissing, NodeFull, WriteFailed
from modelshelf.formats.image import PackedFile
from modelshelf.stop import StopToken
from modelshelf.store.contract import LocalStore
from modelshelf.store.copying import copy_blob
from modelshelf.store.files import stamp_of
from modelshelf.store.locks import DigestLocks

_NAME = re.compile(r"\.?([0-9a-f]{64})(?:\.[0-9a-f]{32})?", re.ASCII)
"""The folder of a replica, or one of those that a fill or a removal goes through."""


class LocalReplicas:
    """See `contract.Node`; the replicas below `root`, of blobs in `store`."""

    def __init__(self, root: Path, store: LocalStore) -> None:
        self._root = root / "replicas"
        self._store = store
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._locks = DigestLocks(root / "locks")

    @contextmanager
    def alone_at(self, image: Digest, stop: StopToken | None = None) -> Iterator[None]:
        """Nobody else fills, replaces or removes this image's replica within. Whoever acts looks again first whether it is meant.

        Not to be nested. Raises BlobBeingDeleted with the holder, or Stopped.
        """
        with self._locks.removing(image, stop):
            yield

    def holds(self, image: Digest, files: Sequence[PackedFile]) -> bool:
        replica = self._root / image.hex
        try:
            marker = json.loads((replica / "complete.json").read_bytes())
            stamps = dict(marker.get("copies", {}))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, AttributeError):
            return False
        proven = {**stamps}
        for file in files:
            if not self._is_laid_out(replica / "files" / str(file.path), file, proven):
                return False
        if proven != stamps:
            with contextlib.suppress(OSError):  # who may not write here proves them again the next time
                write_whole(replica / "complete.json", json.dumps({**marker, "copies": proven}), mode=0o644)
        return True

    def bytes_to_copy(self, files: Sequence[PackedFile]) -> int:
        """Return the bytes that a replica of these files would take beside the store: 0 where they can be links."""
        if not files:
            return 0
        for left in self._root.glob(".link.*"):  # by a run that was killed
            left.unlink(missing_ok=True)
        probe = self._root / f".link.{uuid.uuid4().hex}"
        try:
            os.link(self._store.path_of(files[0].digest), probe, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise self._explained(error, files[0].digest, files) from error
            return sum(file.size for file in files)
        probe.unlink(missing_ok=True)
        return 0

    def fill(self, image: Digest, files: Sequence[PackedFile], stop: StopToken) -> Path:
        """The caller is within `alone_at` of the image."""
        replica = self._root / image.hex
        if self.holds(image, files):
            return replica / "files"
        self._discard_left_over(image)
        building = self._root / f".{image.hex}.{uuid.uuid4().hex}"
        try:
            (building / "files").mkdir(parents=True)
            reach("replica.begun")
            copies: dict[str, str] = {}
            for file in files:
                stop.check()
                self._lay_out(building / "files" / str(file.path), file, copies, stop)
                reach("replica.linked")
            marker = {"image": str(image), "files": len(files), "bytes": sum(file.size for file in files), "copies": copies}
            write_whole(building / "complete.json", json.dumps(marker), mode=0o644)
            reach("replica.marked")
            self._move_away(image)  # what is there is not complete, or was altered
            building.rename(replica)
            reach("replica.renamed")
            sync_folder(self._root)
        except OSError as error:
            raise self._explained(error, image, files) from error
        finally:
            self._discard_left_over(image)
        return replica / "files"

    def files_of(self, image: Digest) -> Path:
        return self._root / image.hex / "files"

    def evict(self, image: Digest) -> None:
        """The caller is within `alone_at` of the image."""
        try:
            reach("delete.replica_leaving")
            self._move_away(image)
            self._discard_left_over(image)
        except OSError as error:
            raise WriteFailed(what=f"the removal of the replica of {image}", path=self._root, reason=error.strerror) from error

    def list(self) -> Collection[Digest]:
        names = (_NAME.fullmatch(folder.name) for folder in self._root.iterdir())
        return {Digest(found[1]) for found in names if found is not None}

    def _move_away(self, image: Digest) -> None:
        replica = self._root / image.hex
        with contextlib.suppress(FileNotFoundError):
            replica.rename(self._root / f".{image.hex}.{uuid.uuid4().hex}")

    def _discard_left_over(self, image: Digest) -> None:
        """What a run that was killed left of this image: nobody else is at it."""
        for left in self._root.glob(f".{image.hex}.*"):
            shutil.rmtree(left, ignore_errors=True)

    def _lay_out(self, target: Path, file: PackedFile, copies: dict[str, str], stop: StopToken) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(self._store.path_of(file.digest), target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in NO_LINK:
                raise
            copies[str(file.path)] = copy_blob(self._store, file.digest, target, stop, mode=0o444)

    def _is_laid_out(self, target: Path, file: PackedFile, proven: dict[str, str]) -> bool:
        """It is a link to the store's blob, or a copy whose bytes were proven; a new proof is noted in `proven`."""
        try:
            found = target.lstat()
            blob = self._store.path_of(file.digest).lstat()
        except (FileNotFoundError, NotADirectoryError, BlobMissing):
            return False  # without the store's own there is nothing to compare it with
        if (found.st_dev, found.st_ino) == (blob.st_dev, blob.st_ino):
            return True
        if not stat.S_ISREG(found.st_mode) or found.st_size != file.size:
            return False
        stamp, before = stamp_of(found), proven.get(str(file.path), "")
        if stamp != before:
            with target.open("rb") as copy:
                if Digest.of_file(copy) != file.digest:
                    return False
        proven[str(file.path)] = stamp
        return True

    def _explained(self, error: OSError, image: Digest, files: Sequence[PackedFile]) -> Exception:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            needed = f"{sum(file.size for file in files):,} bytes"
            return NodeFull(node="the local node", what=image, free=f"{self.free_bytes():,} bytes", needed=needed)
        return WriteFailed(what=f"the replica of {image}", path=self._root, reason=error.strerror or error)

    def free_bytes(self) -> int:
        disk = os.statvfs(self._root)
        return disk.f_bavail * disk.f_frsize
