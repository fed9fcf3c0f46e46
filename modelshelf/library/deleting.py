"""Deleting a version: the row first, then its replicas, then the bytes that nobody else counts on.

In this order a crash leaves bytes without a row, never a row without its bytes; the next deletion takes them along, and so does
an import that wants the same bytes. A deletion that is paused anywhere and goes on later removes nothing that came into use
meanwhile: it looks again under the digest's lock (decision 0020).
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import Connection

from modelshelf.catalog import blobs, holdings, instances, replicas, versions
from modelshelf.catalog.ids import StoreId
from modelshelf.catalog.versions import Version
from modelshelf.crash_points import reach
from modelshelf.digest import Digest
from modelshelf.library.deletions import remove_condemned
from modelshelf.library.evicting import remove_left_over, remove_unneeded
from modelshelf.library.opening import Library
from modelshelf.names import ModelRef, ProjectName
from modelshelf.stop import StopToken


@dataclass(frozen=True, slots=True)
class Deletion:
    """What deleting a version removes: `frees` bytes on disk. Blobs that others use stay, and so does what lies in place."""

    ref: ModelRef
    image: Digest | None
    blobs: tuple[Digest, ...]
    frees: int
    keeps: int
    filesystem: str | None
    shared: tuple[Digest, ...] = ()
    """The blobs that stay."""


def plan_deletion(library: Library, asking: ProjectName, ref: ModelRef) -> Deletion:
    """What would be removed. Raises StillInUse and names every holder. Nothing is changed: it is tried and undone."""
    with library.catalog.trying() as connection:
        return remove_rows(library, connection, asking, ref, who="plan")


def delete_version(library: Library, asking: ProjectName, ref: ModelRef, *, who: str, stop: StopToken | None = None) -> Deletion:
    """The version is gone, and with it every byte that only it used.

    Safe to run again: what a killed run left is removed first.
    """
    stop = stop or StopToken()
    remove_left_over(library)
    remove_condemned(library, stop)
    with library.catalog.writing() as connection:
        deletion = remove_rows(library, connection, asking, ref, who=who)
    remove_replica(library, deletion)
    remove_condemned(library, stop)
    return deletion


def remove_replica(library: Library, deletion: Deletion) -> None:
    """The node's files of a deleted version are gone, unless another version on it has the same image."""
    reach("delete.row_gone")
    if deletion.image is not None:
        remove_unneeded(library, deletion.image, deletion.shared)
    reach("delete.manifest_gone")


def remove_rows(library: Library, connection: Connection, asking: ProjectName, ref: ModelRef, *, who: str) -> Deletion:
    """In one transaction: nothing holds it, its rows are gone, and the blobs that nothing else refers to are marked."""
    target = versions.find(connection, asking, ref)
    instances.require_unused(connection, target)
    sizes = versions.blob_sizes(connection, library.store_id, target)
    elsewhere = _digests_elsewhere(connection, library, target)
    replicas.forget_version(connection, target.id)
    versions.remove(connection, asking, target, who)
    unused = tuple(blobs.condemn_unused(connection, library.store_id, sizes))
    for store_id, digests in elsewhere.items():  # removed by that store's own node, at its next look
        blobs.condemn_unused(connection, store_id, digests)
    frees = sum(sizes[digest] for digest in unused)
    shared = tuple(sorted(sizes.keys() - set(unused)))
    return Deletion(target.ref, target.image, unused, frees, sum(sizes.values()) - frees, target.filesystem, shared)


def _digests_elsewhere(connection: Connection, library: Library, target: Version) -> dict[StoreId, set[Digest]]:
    """Return the blobs of the version's image by each other store that holds it or a part of it."""
    if target.image is None:
        return {}
    others = [store_id for store_id in holdings.stores_of(connection, target.image) if store_id != library.store_id]
    return {store_id: set(versions.blob_sizes(connection, store_id, target)) for store_id in others}
