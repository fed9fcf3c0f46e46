"""The store's part of an audit: its blobs beside the catalog's, their bytes beside their digests, manifests beside images.

Every repair looks again under the digest's lock: what came into use since it was found is left alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import tee

from modelshelf.catalog import blobs, holdings, images, leases, versions
from modelshelf.digest import Digest
from modelshelf.errors import Unreadable
from modelshelf.library import stamps
from modelshelf.library.cleaning import manifest_layers
from modelshelf.library.deletions import finish_deletions
from modelshelf.library.findings import Fault, Finding, FindingKind, Rehash
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.states import BlobState
from modelshelf.stop import StopToken

_REMOVE = "remove it and mark its versions as failed; they can be imported again"
_AT_ONCE = 256
"""Blobs that are read before their proof is recorded."""


def presence(library: Library, who: str, stop: StopToken, grace_seconds: float) -> Iterator[Fault]:
    """What the catalog lists and the store lacks, or has in another size; and what nobody lists."""
    for name in library.store.foreign():
        yield Fault(
            Finding(
                FindingKind.FILE_EXTRA,
                name,
                "its name is not a digest",
                "none: modelshelf did not write this file; remove it yourself",
            ),
            None,
        )
    present = {one.digest: one for one in library.store.stored()}
    with library.catalog.reading() as connection:
        importing = leases.importing(connection)
        for digest, size, state in blobs.recorded(connection, library.store_id):
            found = present.pop(digest, None)
            if state == BlobState.DELETING:
                finding = Finding(
                    FindingKind.DELETION_UNFINISHED,
                    str(digest),
                    "it is marked for deletion but still exists",
                    "finish the deletion",
                )
                yield Fault(finding, partial(finish_deletions, library, [digest], stop))
            elif found is None and not library.store.stamps([digest]):  # not one that came since the store was listed
                said = f"the catalog lists it, but the store lacks it{_users(library, digest)}"
                finding = Finding(
                    FindingKind.BLOB_MISSING, str(digest), said, "mark its versions as failed; they can be imported again"
                )
                yield Fault(finding, partial(_give_up_missing, library, digest, who, stop))
            elif found is not None and found.size != size:
                said = f"it has {found.size:,} bytes, but {size:,} are recorded{_users(library, digest)}"
                yield Fault(
                    Finding(FindingKind.BLOB_DAMAGED, str(digest), said, _REMOVE),
                    partial(_remove_damaged, library, digest, who, stop),
                )
    for extra in () if importing else present.values():  # an import records its small files at its end
        if extra.age >= grace_seconds:
            said = f"{extra.size:,} bytes that the catalog does not know"
            finding = Finding(FindingKind.BLOB_EXTRA, str(extra.digest), said, "remove it")
            yield Fault(finding, partial(_remove_extra, library, extra.digest, grace_seconds, stop))


def bytes_to_read(library: Library, rehash: Rehash) -> int:
    """What such an audit reads of the store, if nothing is damaged."""
    with library.catalog.reading() as connection:
        _, total = blobs.total(connection, library.store_id)
    return {"none": 0, "part": total // DEFAULT.rehash_nights, "all": total}[rehash]


def bytes_read(library: Library, who: str, stop: StopToken, rehash: Rehash, on_bytes: Callable[[int], None]) -> Iterator[Fault]:
    """Blobs whose bytes have another digest. Those that are right are noted as proven now.

    A part begins with what was proven longest ago, and ends when its share was read, or its time is over. What is damaged does
    not count: it comes first every night until it is mended, and must not keep the others from their turn.
    """
    share, until = bytes_to_read(library, rehash), time.monotonic() + DEFAULT.rehash_seconds
    with library.catalog.reading() as connection:
        rest = blobs.longest_unproven(connection, library.store_id) if rehash != "none" else []
    rest.reverse()
    while rest and share > 0 and not (rehash == "part" and time.monotonic() > until):
        some: dict[Digest, int] = {}
        while rest and len(some) < _AT_ONCE and (rehash == "all" or sum(some.values()) < share):
            blob = rest.pop()
            some[blob.digest] = blob.size
        here = library.store.stamps(some)  # what is missing is told as that
        proven, wrong = stamps.read_all(library, here, stop, on_bytes)
        share -= sum(some[digest] for digest in proven) if rehash == "part" else 0
        with library.catalog.writing() as connection:
            blobs.prove(connection, library.store_id, proven)
        for digest, found in sorted(wrong.items()):
            finding = Finding(FindingKind.BLOB_DAMAGED, str(digest), f"{found}{_users(library, digest)}", _REMOVE)
            yield Fault(finding, partial(_remove_damaged, library, digest, who, stop))


def manifests(library: Library, who: str, stop: StopToken) -> Iterator[Fault]:
    """Stored manifests that say something else than the catalog."""
    with library.catalog.reading() as connection:
        ours, again = tee(images.in_use(connection))
        contents = library.store.read_each((image for image, _ in ours), DEFAULT.manifest_bytes)
        for (image, known), (_, content) in zip(again, contents, strict=True):
            stop.check()
            if content is None:  # told as missing already
                continue
            try:
                same, found = manifest_layers(image, content) == known, "it lists other blobs than the catalog"
            except Unreadable as error:
                same, found = False, error.facts["reason"]
            if not same:
                finding = Finding(FindingKind.MANIFEST_DIFFERS, str(image), f"{found}{_users(library, image)}", _REMOVE)
                yield Fault(finding, partial(_remove_damaged, library, image, who, stop, altered=content))


def _users(library: Library, digest: Digest) -> str:
    """The versions that need the blob, to be added to a sentence."""
    with library.catalog.reading() as connection:
        named = [str(versions.get(connection, owner, number).ref) for owner, number in images.needing(connection, digest)]
    return f"; used by {', '.join(named)}" if named else ""


def _give_up_missing(library: Library, digest: Digest, who: str, stop: StopToken) -> None:
    with library.store.locks.removing(digest, stop):
        if not library.store.stamps([digest]):
            _reopen(library, digest, "its content is missing in the store", who)


def _remove_damaged(library: Library, digest: Digest, who: str, stop: StopToken, altered: bytes | None = None) -> None:
    """What is not whole, still, goes. `altered` is a manifest that has its digest and says something else."""
    with library.store.locks.removing(digest, stop):
        proven, _ = stamps.read_all(library, library.store.stamps([digest]), stop)
        if proven and (altered is None or Digest.of(altered) != digest):
            with library.catalog.writing() as connection:  # what an import proved has taken its place
                blobs.prove(connection, library.store_id, proven)
            return
        _reopen(library, digest, "its content in the store was damaged", who)
        library.store.delete(digest)


def _remove_extra(library: Library, digest: Digest, grace_seconds: float, stop: StopToken) -> str | None:
    with library.store.locks.removing(digest, stop):
        with library.catalog.reading() as connection:
            known = bool(blobs.recorded_of(connection, library.store_id, [digest]))
            importing = leases.importing(connection)
        if known:
            return None
        if importing or any(one.age < grace_seconds for one in library.store.stored([digest])):
            return "a running import may be about to record it"
        library.store.delete(digest)
        return None


def _reopen(library: Library, digest: Digest, reason: str, who: str) -> None:
    """Versions that need the blob are failed and can be imported again; what else they have is held for that.

    Versions that another store holds whole stay ready: the next fill copies them here again. The blob is not counted on any
    more.
    """
    with library.catalog.writing() as connection:
        lost = holdings.lose(connection, library.store_id, digest)
        for owner, version_id in images.needing(connection, digest):
            target = versions.get(connection, owner, version_id)
            if target.image not in lost:
                continue
            mine = versions.blob_sizes(connection, library.store_id, target)
            versions.reopen(connection, owner, target, f"{reason}; import it again", who)
            blobs.hold_present(connection, library.store_id, version_id, mine.keys() - {digest})
        images.forget_unused(connection)
        blobs.lose(connection, library.store_id, digest)
