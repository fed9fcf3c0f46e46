"""Deleting a version: the row first, then its replicas, then the bytes that nobody else counts on.

In this order a crash leaves bytes without a row, never a row without its bytes; the next deletion takes them along.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy.engine import Connection

from modelshelf.catalog import blobs, instances, replicas, versions
from modelshelf.crash_points import reach
from modelshelf.digest import Digest
from modelshelf.library.opening import Library
from modelshelf.names import ModelRef, ProjectName


@dataclass(frozen=True, slots=True)
class Deletion:
    """What deleting a version removes: `frees` bytes on disk. Blobs that others use stay, and so does what lies in place."""

    ref: ModelRef
    image: Digest | None
    blobs: tuple[Digest, ...]
    frees: int
    keeps: int
    filesystem: str | None

    def to_json(self) -> dict[str, object]:
        named = {"ref": str(self.ref), "image": str(self.image or ""), "blobs": [str(digest) for digest in self.blobs]}
        return {**asdict(self), **named}


def plan_deletion(library: Library, asking: ProjectName, ref: ModelRef) -> Deletion:
    """What would be removed. Raises StillInUse and names every holder. Nothing is changed: it is tried and undone."""
    with library.catalog.trying() as connection:
        return remove_rows(library, connection, asking, ref, who="plan")


def delete_version(library: Library, asking: ProjectName, ref: ModelRef, *, who: str) -> Deletion:
    """The version is gone, and with it every byte that only it used. Safe to run again."""
    with library.catalog.writing() as connection:
        deletion = remove_rows(library, connection, asking, ref, who=who)
    remove_replica(library, deletion)
    remove_condemned(library)
    return deletion


def remove_replica(library: Library, deletion: Deletion) -> None:
    """The node's files of a deleted version are gone, unless another version has the same image."""
    reach("delete.row_gone")
    if deletion.image is not None and deletion.image in deletion.blobs:
        library.node.evict(deletion.image)
    reach("delete.manifest_gone")


def remove_condemned(library: Library) -> int:
    """Blobs marked for deletion, by us or by a run that was killed, are gone; the bytes freed."""
    with library.catalog.reading() as connection:
        marked = blobs.condemned(connection, library.store_id)
    freed = 0
    for digest in marked:
        freed += library.store.delete(digest)
        reach("delete.blob_gone")
        with library.catalog.writing() as connection:
            blobs.forget(connection, library.store_id, digest)
    return freed


def remove_rows(library: Library, connection: Connection, asking: ProjectName, ref: ModelRef, *, who: str) -> Deletion:
    """In one transaction: nothing holds it, its rows are gone, and the blobs that nothing else refers to are marked."""
    target = versions.find(connection, asking, ref)
    instances.require_unused(connection, target)
    sizes = versions.blob_sizes(connection, library.store_id, target)
    replicas.forget_version(connection, target.id)
    versions.remove(connection, asking, target, who)
    unused = tuple(blobs.condemn_unused(connection, library.store_id, sizes))
    frees = sum(sizes[digest] for digest in unused)
    return Deletion(target.ref, target.image, unused, frees, sum(sizes.values()) - frees, target.filesystem)
