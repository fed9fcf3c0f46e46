"""Which blobs a store holds, who may count on them, and which of them nobody needs any more.

A digest alone is no proof of a right to the bytes: an import counts on a blob without fetching it only if it belongs to a
version that its project may see, or if an import of that project holds it: it fetched it and proved it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import delete, exists, insert, or_, select, update
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import insert_into
from modelshelf.catalog.projects import visible_to
from modelshelf.catalog.tables import blob, hold, image, image_file, model, project, store, version
from modelshelf.digest import Blob, Digest
from modelshelf.errors import BlobBeingDeleted
from modelshelf.names import ProjectName


def store_id(connection: Connection, name: str, *, region: str, kind: str) -> int:
    """The store's id; its row is made if it is not there."""
    found = connection.execute(select(store.c.id).where(store.c.name == name)).scalar_one_or_none()
    if found is not None:
        return int(found)
    row = insert(store).values(name=name, region=region, kind=kind).returning(store.c.id)
    return int(connection.execute(row).scalar_one())


def record(connection: Connection, at: int, present: Collection[Blob]) -> None:
    """The blobs are in the store. Raises BlobBeingDeleted if a clean-up is just removing one of them."""
    for one in sorted(present):
        row = {"store_id": at, "digest": str(one.digest), "size": one.size, "state": "present"}
        connection.execute(insert_into(connection, blob).values(row).on_conflict_do_nothing())
        state = select(blob.c.state).where(blob.c.store_id == at, blob.c.digest == str(one.digest))
        if connection.execute(state).scalar_one() == "deleting":
            raise BlobBeingDeleted(digest=one.digest)


def hold_fetched(connection: Connection, at: int, version_id: int, fetched: Blob) -> None:
    """This import fetched the blob: it is recorded, and nobody deletes it before the import publishes or gives up."""
    record(connection, at, [fetched])
    _hold(connection, at, version_id, fetched.digest)


def hold_known(connection: Connection, asking: ProjectName, at: int, version_id: int, wanted: Iterable[Digest]) -> set[Digest]:
    """Those of `wanted` that the import may count on; it holds them from this transaction on."""
    known: set[Digest] = set()
    for digest in set(wanted):
        seen = (
            select(version.c.id)
            .join(model, version.c.model_id == model.c.id)
            .join(image_file, version.c.image == image_file.c.image)
            .where(image_file.c.digest == str(digest), version.c.state == "ready", visible_to(asking))
        )
        own = (
            select(hold.c.digest)
            .join(version, hold.c.version_id == version.c.id)
            .join(model, version.c.model_id == model.c.id)
            .where(hold.c.store_id == at, hold.c.digest == str(digest))
            .where(model.c.project_id.in_(select(project.c.id).where(project.c.name == str(asking))))
        )
        here = (blob.c.store_id == at) & (blob.c.digest == str(digest))
        row = connection.execute(select(blob.c.state).where(here, or_(exists(seen), exists(own)))).one_or_none()
        if row is None:
            continue
        if row.state == "deleting":
            raise BlobBeingDeleted(digest=digest)
        _hold(connection, at, version_id, digest)
        known.add(digest)
    return known


def release_holds(connection: Connection, version_id: int) -> None:
    connection.execute(delete(hold).where(hold.c.version_id == version_id))


def condemn_unused(connection: Connection, at: int, candidates: Iterable[Digest]) -> list[Digest]:
    """Those of `candidates` that nothing refers to, now marked: no import counts on them any more.

    What refers to a blob: an image's files, an image's manifest or config, an import's hold.
    """
    condemned: list[Digest] = []
    for digest in candidates:
        named = str(digest)
        used = or_(
            exists(select(image_file.c.digest).where(image_file.c.digest == named)),
            exists(select(image.c.digest).where(image.c.digest == named)),
            exists(select(image.c.digest).where(image.c.config == named)),
            exists(select(hold.c.digest).where(hold.c.store_id == at, hold.c.digest == named)),
        )
        marked = update(blob).where(blob.c.store_id == at, blob.c.digest == named, ~used).values(state="deleting")
        if connection.execute(marked).rowcount:
            condemned.append(digest)
    return condemned


def condemned(connection: Connection, at: int) -> list[Digest]:
    """What is marked for deletion, by us or by a run that was killed."""
    rows = connection.execute(select(blob.c.digest).where(blob.c.store_id == at, blob.c.state == "deleting"))
    return [Digest.parse(row.digest) for row in rows]


def states(connection: Connection, at: int) -> dict[Digest, tuple[int, str]]:
    """Every blob that is recorded for the store, with its size in bytes and its state."""
    rows = connection.execute(select(blob.c.digest, blob.c.size, blob.c.state).where(blob.c.store_id == at))
    return {Digest.parse(row.digest): (row.size, row.state) for row in rows}


def lose(connection: Connection, at: int, digest: Digest) -> None:
    """The store has no such blob, and nobody counts on it; it can be fetched again."""
    connection.execute(delete(hold).where(hold.c.store_id == at, hold.c.digest == str(digest)))
    connection.execute(delete(blob).where(blob.c.store_id == at, blob.c.digest == str(digest)))


def forget(connection: Connection, at: int, digest: Digest) -> None:
    """The blob's file is gone, and so is its row."""
    connection.execute(delete(blob).where(blob.c.store_id == at, blob.c.digest == str(digest), blob.c.state == "deleting"))


def _hold(connection: Connection, at: int, version_id: int, digest: Digest) -> None:
    row = {"version_id": version_id, "store_id": at, "digest": str(digest)}
    connection.execute(insert_into(connection, hold).values(row).on_conflict_do_nothing())
