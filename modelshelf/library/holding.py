"""What an import may count on: found whole, held from then on, and fenced from whoever removes it meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager

from modelshelf.catalog import blobs
from modelshelf.catalog.versions import Version
from modelshelf.digest import Blob, Digest
from modelshelf.errors import BlobBeingDeleted
from modelshelf.library import stamps
from modelshelf.library.deletions import finish_deletions
from modelshelf.library.opening import Library
from modelshelf.names import ProjectName
from modelshelf.states import BlobState
from modelshelf.stop import StopToken


@contextmanager
def whole(
    library: Library, asking: ProjectName, wanted: Iterable[Digest], stop: StopToken, *, changing: bool = True
) -> Iterator[set[Digest]]:
    """Those of `wanted` that the project may count on and that are whole; nobody removes or replaces them within.

    A deletion of one of the others that was begun is finished here, whoever began it: what is fetched next is not taken away.
    With `changing` false nothing is: for plans.
    """
    with library.catalog.reading() as connection:
        recorded, may = blobs.known(connection, asking, library.store_id, wanted)
    found = stamps.check_recorded(library, {digest: recorded[digest] for digest in may}, stop, record=changing).whole
    if changing:
        begun = {digest for digest, row in recorded.items() if row.state == BlobState.DELETING}
        finish_deletions(library, begun - found.keys(), stop)
    with library.store.locks.counting_on(found.keys(), stop):
        now = library.store.stamps(found)
        yield {digest for digest, stamp in now.items() if library.store.only_linked(found[digest], stamp)}


def record_fetched(library: Library, target: Version, fetched: Collection[Blob]) -> set[Blob]:
    """Record and hold blobs that this import fetched and proved; return those that were taken away meanwhile."""
    with library.store.locks.counting_on({blob.digest for blob in fetched}):
        seen = library.store.stamps(blob.digest for blob in fetched)
        there = {
            Blob(blob.digest, blob.size, seen[blob.digest])
            for blob in fetched
            if blob.digest in seen and library.store.only_linked(blob.stamp or "", seen[blob.digest])
        }
        hold_now(library, target, there)
    return set(fetched) - there


def require_kept(taken: Iterable[Blob]) -> None:
    """Raise BlobBeingDeleted if there is one: the next try fetches it again."""
    for blob in taken:
        raise BlobBeingDeleted(digest=blob.digest, holder="a clean-up")


def hold_now(library: Library, target: Version, fetched: Collection[Blob]) -> None:
    """Record and hold these; the caller holds their locks."""
    if fetched:
        with library.catalog.writing() as connection:
            blobs.hold_fetched(connection, library.store_id, target.id, fetched)
