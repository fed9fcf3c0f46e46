"""Which store holds which image: whole, or on its way there. Its blobs are the store's as long as either is recorded."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import or_, select, update
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import insert_into
from modelshelf.catalog.ids import StoreId
from modelshelf.catalog.tables import image, image_at, image_file, store
from modelshelf.digest import Digest
from modelshelf.states import ImageState


@dataclass(frozen=True, slots=True)
class Holder:
    """A store that holds an image whole: where its folder is, and on which machine."""

    store_id: StoreId
    name: str
    region: str
    identity: str | None
    host: str | None
    folder: str | None


def begin_copy(connection: Connection, store_id: StoreId, digest: Digest) -> None:
    """The store is about to get the image: what arrives of it is not taken for nobody's."""
    row = insert_into(connection, image_at).values(store_id=store_id, image=str(digest), state=ImageState.COPYING)
    connection.execute(row.on_conflict_do_nothing())


def mark_present(connection: Connection, store_id: StoreId, digest: Digest) -> None:
    """The store holds every blob of the image."""
    row = insert_into(connection, image_at).values(store_id=store_id, image=str(digest), state=ImageState.PRESENT)
    connection.execute(
        row.on_conflict_do_update(index_elements=[image_at.c.store_id, image_at.c.image], set_={"state": ImageState.PRESENT})
    )


def is_present(connection: Connection, store_id: StoreId, digest: Digest) -> bool:
    """Return whether the store holds the image whole, by the catalog."""
    here = (image_at.c.store_id == store_id) & (image_at.c.image == str(digest)) & (image_at.c.state == ImageState.PRESENT)
    return connection.execute(select(image_at.c.image).where(here)).first() is not None


def stores_of(connection: Connection, digest: Digest) -> list[StoreId]:
    """Return the ids of the stores that hold the image or a part of it."""
    rows = connection.execute(select(image_at.c.store_id).where(image_at.c.image == str(digest))).scalars()
    return [StoreId(row) for row in rows]


def holders(connection: Connection, digest: Digest) -> list[Holder]:
    """Return every store that holds the image whole, by its id."""
    rows = connection.execute(
        select(store)
        .join(image_at, image_at.c.store_id == store.c.id)
        .where(image_at.c.image == str(digest), image_at.c.state == ImageState.PRESENT)
        .order_by(store.c.id)
    )
    return [Holder(StoreId(row.id), row.name, row.region, row.identity, row.host, row.folder) for row in rows]


def lose(connection: Connection, store_id: StoreId, blob: Digest) -> set[Digest]:
    """The store lost the blob: no image with it is whole there. Return those of the images that no store holds whole now."""
    named = str(blob)
    with_it = {
        row[0]
        for row in connection.execute(
            select(image_file.c.image)
            .where(image_file.c.digest == named)
            .union(select(image.c.digest).where(or_(image.c.digest == named, image.c.config == named)))
        )
    }
    here = (image_at.c.store_id == store_id) & image_at.c.image.in_(with_it)
    connection.execute(update(image_at).where(here).values(state=ImageState.COPYING))
    whole = connection.execute(
        select(image_at.c.image).where(image_at.c.image.in_(with_it), image_at.c.state == ImageState.PRESENT).distinct()
    )
    return {Digest.parse(one) for one in with_it - {row.image for row in whole}}
