"""An image's content, copied from a store that holds it into this node's: only what lacks, proven as it arrives.

One run copies an image into a store, and one into a region: whoever waits finds it there, or nearer.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from modelshelf.catalog import blobs, holdings, images, versions
from modelshelf.catalog.holdings import Holder
from modelshelf.catalog.leases import Lease, copy_lease
from modelshelf.catalog.versions import Version
from modelshelf.crash_points import reach
from modelshelf.digest import Blob, Digest
from modelshelf.errors import BlobMissing, ContentElsewhere, DiskFull, NotReady
from modelshelf.library import identity
from modelshelf.library.deletions import finish_deletions
from modelshelf.library.leases import alone
from modelshelf.library.opening import Library, open_store
from modelshelf.stop import StopToken
from modelshelf.store.contract import Store
from modelshelf.transfer.contract import Downloads
from modelshelf.wire import Wire


def bytes_to_bring(library: Library, target: Version) -> int:
    """Return the bytes that `bring_content` would copy into this node's store."""
    if target.image is None or _is_here(library, target.image):
        return 0
    with library.catalog.reading() as connection:
        sizes = {file.digest: file.size for file in versions.files(connection, target.project, target.id)}
    here = library.store.sizes(sizes)
    return sum(size for digest, size in sizes.items() if digest not in here)


def bring_content(
    library: Library, target: Version, stop: StopToken, on_bytes: Callable[[int], None] = lambda _count: None
) -> Holder | None:
    """Let this node's store hold the version's image whole; return the store that it was copied from, None if it was here.

    Safe to run again: what has arrived is kept. Raises ContentElsewhere if no store that holds it can be reached from here.
    """
    if target.image is None:
        raise NotReady(what=target.ref, state="without an image", reason="", advice="Import it again.")
    if _is_here(library, target.image):
        return None
    with alone(library, Lease(copy_lease(library.store_id, target.image), says=f"copying {target.ref}"), stop):
        if _is_here(library, target.image):
            return None
        holder, source = _nearest(library, target)
        if holder.region != library.node_at.region:
            says = f"copying {target.ref} into the region {library.node_at.region}"
            with alone(library, Lease(copy_lease(library.node_at.region, target.image), says=says), stop):
                holder, source = _nearest(library, target)
                if holder.region != library.node_at.region:
                    _copy(library, target, source, stop, on_bytes)
                    return holder
        _copy(library, target, source, stop, on_bytes)
        return holder


def _is_here(library: Library, image: Digest) -> bool:
    with library.catalog.reading() as connection:
        return holdings.is_present(connection, library.store_id, image)


def _nearest(library: Library, target: Version) -> tuple[Holder, Store]:
    """Return a store that holds the image and can be reached: one of this region, if there is one."""
    assert target.image is not None
    with library.catalog.reading() as connection:
        holders = holdings.holders(connection, target.image)
    for holder in sorted(holders, key=lambda one: one.region != library.node_at.region):
        if (source := _reach(holder)) is not None:
            return holder, source
    named = ", ".join(f"{one.name} (region {one.region})" for one in holders) or "no store"
    raise ContentElsewhere(what=target.ref, holders=named, here=library.node_at.name)


def _reach(holder: Holder) -> Store | None:
    """Return the holder's store if its folder is on this machine, and still the one that the catalog means."""
    if holder.folder is None or holder.host != identity.machine():
        return None
    folder = Path(holder.folder)
    marker = identity.Marker.read(folder)
    return open_store(folder) if marker is not None and marker.identity == holder.identity else None


def _copy(library: Library, target: Version, source: Store, stop: StopToken, on_bytes: Callable[[int], None]) -> None:
    assert target.image is not None
    with library.catalog.writing() as connection:
        holdings.begin_copy(connection, library.store_id, target.image)
        needed = images.whole(connection, target.image)
    finish_deletions(library, needed, stop)
    sizes = source.sizes(needed)
    if lacking := needed - sizes.keys():
        raise BlobMissing(store=source, digest=min(lacking))
    here = library.store.sizes(needed)
    missing = sorted(needed - here.keys())
    _require_space(library, sum(sizes[digest] for digest in missing))
    downloads = Downloads(Wire(), stop=stop, on_bytes=on_bytes, limits=library.limits)

    def bring(digest: Digest) -> Blob:
        body = source.body(digest)
        with library.store.begin(digest, body.size) as ingest:
            downloads.fetch(body, ingest, proven=True)
            return ingest.commit(digest, what=body.what, whose=body.whose, stop=stop)

    with ThreadPoolExecutor(library.limits.files_at_once, thread_name_prefix="copy") as pool:
        arrived = list(pool.map(bring, missing))
    reach("copy.arrived")
    with library.store.locks.counting_on(needed, stop), library.catalog.writing() as connection:
        if versions.get(connection, target.project, target.id).image != target.image:
            raise NotReady(what=target.ref, state="changed", reason="", advice="Try again.")
        stamps = library.store.stamps(needed)
        if gone := needed - stamps.keys():
            raise BlobMissing(store=library.store, digest=min(gone))
        proven = {blob.digest: blob for blob in arrived}
        blobs.record(connection, library.store_id, [proven.get(digest) or Blob(digest, here[digest]) for digest in needed])
        holdings.mark_present(connection, library.store_id, target.image)
    reach("copy.recorded")


def _require_space(library: Library, needed: int) -> None:
    free = library.store.free_bytes()
    if needed > free - library.limits.free_bytes_kept:
        raise DiskFull(
            path=library.store,
            needed=f"{needed:,} bytes",
            free=f"{free:,} bytes",
            kept=f"{library.limits.free_bytes_kept:,} bytes",
        )
