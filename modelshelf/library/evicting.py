"""Removing a replica's files: only those that nobody counts on, decided by the catalog while nobody else is at the image.

A lease fences what is recorded, not what happens to a disk: a run that was paused past its term wakes and goes on. So each
removal takes the image's lock on the node, looks again whether it is meant, and only then acts.
"""

from __future__ import annotations

from collections.abc import Iterable

from modelshelf.catalog import images, replicas
from modelshelf.crash_points import reach
from modelshelf.digest import Digest
from modelshelf.library import stamps
from modelshelf.library.opening import Library


def remove_left_over(library: Library) -> None:
    """Remove the replicas on this node that nothing needs: what a killed eviction or deletion left.

    Nothing is removed while the image of a version on this node is lost: the files could be its.
    """
    present = library.node.replicas.list()
    with library.catalog.reading() as connection:
        needed = replicas.needed(connection, library.node_id)
    if needed is not None:
        for image in set(present) - needed:
            remove_unneeded(library, image)


def remove_unneeded(library: Library, image: Digest, shared: Iterable[Digest] = ()) -> bool:
    """Remove the image's files from this node, unless a version that has it is wanted, being filled or served here.

    `shared` are blobs of an image whose rows are gone, that others have too. Return whether the files are gone.
    Raises BlobBeingDeleted if another run is at the image for long.
    """
    reach("evict.decided")
    with library.node.replicas.alone_at(image):
        with library.catalog.reading() as connection:
            if replicas.is_needed(connection, library.node_id, image):
                return False
            linked = {*shared, *images.digests(connection, image)}
        with stamps.linking(library, linked):
            library.node.replicas.evict(image)
    return True
