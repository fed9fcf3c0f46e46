"""What a directory store sees of its files: found without following a link, stamped, read, and trouble of the disk worded."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelshelf.digest import Digest
from modelshelf.errors import StoreDamaged, WriteFailed


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


def found_in(folder: int, name: str) -> os.stat_result | None:
    """What lies there under that name, a link itself and not its target; None if nothing does."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def stamp_in(folder: int, name: str) -> str | None:
    """The stamp of the regular file of that name; None if there is none."""
    found = found_in(folder, name)
    return stamp_of(found) if found is not None and stat.S_ISREG(found.st_mode) else None


def stamp_of(found: os.stat_result) -> str:
    """Size, inode, and times of the last write and the last change: equal stamps mean that nobody touched the file.

    Writing moves the time of the last write; whoever sets that back moves the time of the last change, which nobody can set.
    Both go by the kernel's tick, some milliseconds: a write within the tick of the proof itself is not seen.
    """
    return f"{found.st_size} {found.st_ino} {found.st_mtime_ns} {found.st_ctime_ns}"


def only_linked(before: str, after: str) -> bool:
    """The stamps differ at most by what link(2) and unlink(2) change: the time of the last change."""
    return before.rpartition(" ")[0] == after.rpartition(" ")[0]


def digest_in(folder: int, name: str) -> Digest:
    """The digest of the regular file of that name, read to its end. Raises OSError."""
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder), "rb") as file:
        return Digest.of_file(file)


@contextmanager
def removing_failed_writes(what: str, path: Path) -> Iterator[None]:
    """An OSError becomes WriteFailed: the disk's trouble, worded."""
    try:
        yield
    except OSError as error:
        reason = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror or error)
        raise WriteFailed(what=what, path=path, reason=reason) from error
