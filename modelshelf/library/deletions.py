"""Finishing deletions: blobs that are marked go, whoever marked them, unless they came into use meanwhile.

Each removal looks again under the digest's lock (decision 0020).
"""

from __future__ import annotations

from collections.abc import Iterable

from modelshelf.catalog import blobs
from modelshelf.crash_points import reach
from modelshelf.digest import Digest
from modelshelf.errors import BlobBeingDeleted
from modelshelf.library.opening import Library
from modelshelf.stop import StopToken


def remove_condemned(library: Library, stop: StopToken) -> int:
    """Blobs marked for deletion, by us or by a run that was killed, are gone; the bytes freed.

    One that another process is at, for as long as it is waited for, stays marked: that process counts on it, or removes it.
    """
    with library.catalog.reading() as connection:
        marked = blobs.condemned(connection, library.store_id)
    freed = 0
    for digest in marked:
        stop.check()
        try:
            freed += _finish(library, digest, stop)
        except BlobBeingDeleted:
            continue
    return freed


def finish_deletions(library: Library, marked: Iterable[Digest], stop: StopToken) -> None:
    """Finish the deletion of these blobs, which were marked for it, unless they are not any more. Raises BlobBeingDeleted."""
    for digest in sorted(marked):
        _finish(library, digest, stop)


def _finish(library: Library, digest: Digest, stop: StopToken) -> int:
    """The bytes freed: 0 if it was revived meanwhile, or another run was quicker."""
    with library.store.locks.removing(digest, stop):
        with library.catalog.reading() as connection:
            if not blobs.is_condemned(connection, library.store_id, digest):
                return 0
        freed = library.store.delete(digest)
        reach("delete.blob_gone")
        with library.catalog.writing() as connection:
            blobs.forget(connection, library.store_id, digest)
        return freed
