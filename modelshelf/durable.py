"""Small files that are whole or absent: secrets, state files, configuration, lists.

A reader finds what was there before or all that was written, also when the writer is killed or the disk is full. What was
written is on the disk when the call returns.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from modelshelf.crash_points import reach

NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS)
"""How link(2) fails where no hard link can be made: another file system, or one without them."""
_LEFT_OVER_SECONDS = 3600.0
"""A writer of a small file that has not renamed it after so long was killed."""


def write_whole(path: Path, content: str | bytes, *, mode: int = 0o600) -> None:
    """Replace the file by one with this content and mode. Raises OSError, and then the file is as it was."""
    _remove_left_over(path)
    fresh = path.with_name(f".{path.name}.{uuid.uuid4().hex}.new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            reach("file.begun")
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        reach("file.written")
        fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
    reach("file.renamed")
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """The names in the folder are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Wait for every other process that is within `alone_in` of this folder. The kernel lets go when a process dies."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_left_over(path: Path) -> None:
    oldest = time.time() - _LEFT_OVER_SECONDS
    for left in path.parent.glob(f".{path.name}.*.new"):
        with contextlib.suppress(FileNotFoundError):
            if left.lstat().st_mtime < oldest:
                left.unlink()
