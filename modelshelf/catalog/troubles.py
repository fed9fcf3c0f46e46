"""What a database reports, in our words: damaged, full, not permitted, or not there just now."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from modelshelf.catalog.urls import shown, without_secrets
from modelshelf.errors import (
    CatalogDamaged,
    CatalogDiskFull,
    CatalogNotMade,
    CatalogNotPermitted,
    CatalogUnreachable,
    ModelshelfError,
)

_FULL_BELOW = 256 << 10
"""SQLite reports an I/O error where it cannot grow its shared memory: with less free than this, the disk is full."""
_DAMAGED = ("file is not a database", "malformed", "file is encrypted")
_NOT_PERMITTED = ("readonly database", "read-only transaction", "unable to open database file", "permission denied")
_NOT_MADE = {"42P01", "3F000"}
"""PostgreSQL's codes for a table and a schema that do not exist."""


@contextmanager
def translated(url: URL) -> Iterator[None]:
    """Raise what the database reports as one of our errors. A broken constraint stays what it is: callers decide on it."""
    try:
        yield
    except (IntegrityError, DataError):
        raise
    except DBAPIError as error:
        raise _error(url, error.orig) from error
    except sqlite3.Error as error:  # of a copy that was made without SQLAlchemy
        raise _error(url, error) from error


def _error(url: URL, error: BaseException | None) -> ModelshelfError:
    reason = " ".join(without_secrets(str(error), url).split())[:300]
    words, code, called = reason.lower(), getattr(error, "sqlstate", None), shown(url)
    if "no such table" in words or code in _NOT_MADE:
        return CatalogNotMade(url=called)
    if "disk is full" in words or code == "53100" or (url.get_backend_name() == "sqlite" and _is_full(url, words)):
        return CatalogDiskFull(url=called, reason=reason, free=_free(url))
    if any(said in words for said in _DAMAGED):
        return CatalogDamaged(url=called, reason=reason)
    if any(said in words for said in _NOT_PERMITTED) or code == "42501":
        return CatalogNotPermitted(url=called, reason=_why_not_permitted(url, reason))
    return CatalogUnreachable(url=called, reason=reason)


def _is_full(url: URL, words: str) -> bool:
    if "disk i/o error" not in words and "unable to open" not in words:
        return False
    disk = _disk(url)
    return disk is not None and disk.f_bavail * disk.f_frsize < _FULL_BELOW


def _free(url: URL) -> str:
    disk = _disk(url)
    return f"; {disk.f_bavail * disk.f_frsize:,} bytes are free beside it" if disk is not None else ""


def _disk(url: URL) -> os.statvfs_result | None:
    if url.get_backend_name() != "sqlite":
        return None
    try:
        return os.statvfs(Path(str(url.database)).parent)
    except OSError:
        return None


def _why_not_permitted(url: URL, reason: str) -> str:
    if url.get_backend_name() != "sqlite":
        return reason
    file = Path(str(url.database))
    try:
        if file.is_dir():
            return f"{reason}: a folder is where the file should be"
        owner = (file if file.exists() else file.parent).stat().st_uid
    except OSError as error:
        return f"{reason}: {error.strerror}"
    return reason if owner == os.geteuid() else f"{reason}: it belongs to user {owner}, and this is user {os.geteuid()}"
