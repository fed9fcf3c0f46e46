"""Which blobs a store holds, who may count on them, and which of them nobody needs any more.

A digest alone is no proof of a right to the bytes: an import counts on a blob without fetching it only if it belongs to a
version that its project may see, or if an import of that project holds it: it fetched it and proved it.

What is written here about a blob's bytes is true because of the locks of its store (`store.locks`): whoever records a blob, or
counts on it, holds its digest's lock from before it looked at the file until its transaction is done. So does whoever removes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from sqlalchemy import ColumnElement, Text, bindparam, case, delete, exists, func, insert, or_, select, update
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import insert_into, now
from modelshelf.catalog.ids import StoreId, VersionId
from modelshelf.catalog.projects import visible_to
from modelshelf.catalog.tables import blob, hold, image, image_at, image_file, model, project, store, version
from modelshelf.digest import Blob, Digest
from modelshelf.names import ProjectName
from modelshelf.states import BlobState, VersionState

_ROWS_AT_ONCE = 10_000
_AT_ONCE = 500
"""Digests in one statement: databases bound its parameters."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """One blob as its row has it. `size` in bytes; `stamp` is what the store saw of it when it was proven, if that is known."""

    size: int
    state: BlobState
    stamp: str | None


def store_id(connection: Connection, name: str, *, region: str, kind: str) -> StoreId:
    """The store's id; its row is made if it is not there."""
    found = connection.execute(select(store.c.id).where(store.c.name == name)).scalar_one_or_none()
    if found is not None:
        return StoreId(found)
    row = insert(store).values(name=name, region=region, kind=kind).returning(store.c.id)
    return StoreId(connection.execute(row).scalar_one())


def record(connection: Connection, store_id: StoreId, present: Collection[Blob]) -> None:
    """The blobs are in the store, and one that was marked for deletion is not any more; with a stamp they were proven now.

    The caller holds their locks, and has seen them there.
    """
    rows = [{"named": str(one.digest), "bytes": one.size, "seen": one.stamp} for one in sorted(present)]
    if not rows:
        return
    seen = bindparam("seen", type_=Text)
    row = insert_into(connection, blob).values(
        store_id=store_id, digest=bindparam("named"), size=bindparam("bytes"), state=BlobState.PRESENT, stamp=seen,
        proven_at=case((seen.is_not(None), now(connection))),
    )  # fmt: skip
    proof = {key: func.coalesce(row.excluded[key], blob.c[key]) for key in ("stamp", "proven_at")}
    changed = {"state": row.excluded.state, **proof}
    connection.execute(row.on_conflict_do_update(index_elements=[blob.c.store_id, blob.c.digest], set_=changed), rows)


def hold_fetched(connection: Connection, store_id: StoreId, version_id: VersionId, fetched: Collection[Blob]) -> None:
    """This import fetched the blobs: they are recorded, and nobody deletes them before the import publishes or gives up."""
    record(connection, store_id, fetched)
    _hold(connection, store_id, version_id, {one.digest for one in fetched})


def known(
    connection: Connection, asking: ProjectName, store_id: StoreId, wanted: Iterable[Digest]
) -> tuple[dict[Digest, Recorded], set[Digest]]:
    """Those of `wanted` that are recorded; and those of these that an import of the project may count on, if they are whole."""
    found: dict[Digest, Recorded] = {}
    may: set[Digest] = set()
    for some in _some({str(digest) for digest in wanted}):
        here = (blob.c.store_id == store_id) & blob.c.digest.in_(some)
        for row in connection.execute(select(blob, _may_count_on(asking, store_id).label("may")).where(here)):
            found[digest := Digest.parse(row.digest)] = Recorded(row.size, BlobState(row.state), row.stamp)
            if row.may:
                may.add(digest)
    return found, may


def hold_known(
    connection: Connection, asking: ProjectName, store_id: StoreId, version_id: VersionId, whole: Iterable[Digest]
) -> set[Digest]:
    """Those of `whole` that the import may count on; it holds them from this transaction on.

    The caller holds their locks and has seen them whole. One that was marked for deletion is revived.
    """
    held: set[Digest] = set()
    for some in _some({str(digest) for digest in whole}):
        here = (blob.c.store_id == store_id) & blob.c.digest.in_(some)
        # locked until this transaction ends: a deletion that begins meanwhile waits, and sees the holds
        rows = connection.execute(
            select(blob.c.digest).where(here, _may_count_on(asking, store_id)).with_for_update(read=True, of=blob)
        ).all()
        held |= {Digest.parse(row.digest) for row in rows}
        revived = [row.digest for row in rows]
        connection.execute(
            update(blob)
            .where(blob.c.store_id == store_id, blob.c.digest.in_(revived), blob.c.state == BlobState.DELETING)
            .values(state=BlobState.PRESENT)
        )
    _hold(connection, store_id, version_id, held)
    return held


def hold_present(connection: Connection, store_id: StoreId, version_id: VersionId, digests: Collection[Digest]) -> None:
    """The version holds those of the blobs that are recorded as present: its next import counts on them."""
    there = [digest for digest, row in recorded_of(connection, store_id, digests).items() if row.state == BlobState.PRESENT]
    _hold(connection, store_id, version_id, there)


def held_by(connection: Connection, store_id: StoreId, version_ids: Collection[VersionId]) -> dict[VersionId, set[Digest]]:
    """The blobs in the store that imports of these versions hold."""
    found: dict[VersionId, set[Digest]] = {number: set() for number in version_ids}
    rows = connection.execute(
        select(hold.c.version_id, hold.c.digest).where(hold.c.store_id == store_id, hold.c.version_id.in_(found))
    )
    for row in rows:
        found[VersionId(row.version_id)].add(Digest.parse(row.digest))
    return found


def of_versions(connection: Connection, version_ids: Collection[VersionId]) -> set[Digest]:
    """Return the digests of the files of these versions' images."""
    files = select(image_file.c.digest).join(version, version.c.image == image_file.c.image)
    rows = connection.execute(files.where(version.c.id.in_(version_ids)).distinct())
    return {Digest.parse(row.digest) for row in rows}


def release_holds(connection: Connection, version_id: VersionId) -> None:
    connection.execute(delete(hold).where(hold.c.version_id == version_id))


def sample(connection: Connection, store_id: StoreId, limit: int) -> list[Digest]:
    """Return up to `limit` of the blobs that the store holds by the catalog."""
    rows = connection.execute(
        select(blob.c.digest).where(blob.c.store_id == store_id, blob.c.state == BlobState.PRESENT).limit(limit)
    )
    return [Digest.parse(row.digest) for row in rows]


def condemn_unused(connection: Connection, store_id: StoreId, candidates: Iterable[Digest]) -> list[Digest]:
    """Those of `candidates` that nothing refers to, now marked: no import counts on them any more.

    What refers to a blob: the files, manifest and config of an image that this store holds, and an import's hold.
    """
    here = image_at.c.store_id == store_id
    used = or_(
        exists(
            select(image_file.c.digest)
            .join(image_at, image_at.c.image == image_file.c.image)
            .where(here, image_file.c.digest == blob.c.digest)
        ),
        exists(select(image_at.c.image).where(here, image_at.c.image == blob.c.digest)),
        exists(select(image.c.digest).join(image_at).where(here, image.c.config == blob.c.digest)),
        exists(select(hold.c.digest).where(hold.c.store_id == store_id, hold.c.digest == blob.c.digest)),
    )
    marked: list[Digest] = []
    for some in _some({str(digest) for digest in candidates}):
        # who counts on one of these just now is waited for here, and seen by the statement after
        connection.execute(select(blob.c.digest).where(blob.c.store_id == store_id, blob.c.digest.in_(some)).with_for_update())
        unused = update(blob).where(blob.c.store_id == store_id, blob.c.digest.in_(some), ~used).values(state=BlobState.DELETING)
        marked += [Digest.parse(row.digest) for row in connection.execute(unused.returning(blob.c.digest))]
    return marked


def condemned(connection: Connection, store_id: StoreId) -> list[Digest]:
    """What is marked for deletion, by us or by a run that was killed."""
    rows = connection.execute(select(blob.c.digest).where(blob.c.store_id == store_id, blob.c.state == BlobState.DELETING))
    return [Digest.parse(row.digest) for row in rows]


def is_condemned(connection: Connection, store_id: StoreId, digest: Digest) -> bool:
    """It is marked for deletion, still: asked by who is about to remove it, inside its lock."""
    here = (blob.c.store_id == store_id) & (blob.c.digest == str(digest)) & (blob.c.state == BlobState.DELETING)
    return connection.execute(select(blob.c.digest).where(here)).first() is not None


def recorded_of(connection: Connection, store_id: StoreId, wanted: Iterable[Digest]) -> dict[Digest, Recorded]:
    """Those of `wanted` that are recorded for the store."""
    found: dict[Digest, Recorded] = {}
    for some in _some({str(digest) for digest in wanted}):
        rows = connection.execute(select(blob).where(blob.c.store_id == store_id, blob.c.digest.in_(some)))
        found |= {Digest.parse(row.digest): Recorded(row.size, BlobState(row.state), row.stamp) for row in rows}
    return found


def prove(connection: Connection, store_id: StoreId, stamps: dict[Digest, str]) -> None:
    """The bytes of these were read just now and are the right ones; what the store saw of them then."""
    rows = [{"named": str(digest), "seen": stamp} for digest, stamp in sorted(stamps.items())]
    if rows:
        here = (blob.c.store_id == store_id) & (blob.c.digest == bindparam("named"))
        connection.execute(update(blob).where(here).values(stamp=bindparam("seen"), proven_at=now(connection)), rows)


def restamp(connection: Connection, store_id: StoreId, changed: dict[Digest, tuple[str, str]]) -> None:
    """The stamps before and after something of ours that does not touch bytes; where it is another one now, that stays."""
    rows = [{"named": str(digest), "old": old, "new": new} for digest, (old, new) in sorted(changed.items())]
    if rows:
        here = (blob.c.store_id == store_id) & (blob.c.digest == bindparam("named")) & (blob.c.stamp == bindparam("old"))
        connection.execute(update(blob).where(here).values(stamp=bindparam("new")), rows)


def longest_unproven(connection: Connection, store_id: StoreId) -> list[Blob]:
    """The present blobs, those first that were proven longest ago, or never."""
    order = (func.coalesce(blob.c.proven_at, 0.0), blob.c.digest)
    rows = connection.execute(
        select(blob.c.digest, blob.c.size).where(blob.c.store_id == store_id, blob.c.state == BlobState.PRESENT).order_by(*order)
    )
    return [Blob(Digest.parse(row.digest), row.size) for row in rows]


def recorded(connection: Connection, store_id: StoreId) -> Iterator[tuple[Digest, int, BlobState]]:
    """Every blob that is recorded for the store, with its size in bytes and its state, read as it is asked for."""
    rows = select(blob.c.digest, blob.c.size, blob.c.state).where(blob.c.store_id == store_id).order_by(blob.c.digest)
    for row in connection.execute(rows, execution_options={"yield_per": _ROWS_AT_ONCE}):
        yield Digest.parse(row.digest), row.size, BlobState(row.state)


def sizes(connection: Connection, store_id: StoreId, wanted: Iterable[str]) -> dict[Digest, int]:
    """Those of the named digests that are recorded for the store, with their sizes in bytes."""
    found: dict[Digest, int] = {}
    for some in _some(wanted):
        rows = connection.execute(select(blob.c.digest, blob.c.size).where(blob.c.store_id == store_id, blob.c.digest.in_(some)))
        found |= {Digest.parse(row.digest): row.size for row in rows}
    return found


def total(connection: Connection, store_id: StoreId) -> tuple[int, int]:
    """How many blobs are recorded for the store, and their bytes."""
    both = select(func.count(), func.coalesce(func.sum(blob.c.size), 0)).where(blob.c.store_id == store_id)
    count, size = connection.execute(both).one()
    return int(count), int(size)


def lose(connection: Connection, store_id: StoreId, digest: Digest) -> None:
    """The store has no such blob, and nobody counts on it; it can be fetched again."""
    connection.execute(delete(hold).where(hold.c.store_id == store_id, hold.c.digest == str(digest)))
    connection.execute(delete(blob).where(blob.c.store_id == store_id, blob.c.digest == str(digest)))


def forget(connection: Connection, store_id: StoreId, digest: Digest) -> None:
    """The blob's file is gone, and so is its row."""
    connection.execute(
        delete(blob).where(blob.c.store_id == store_id, blob.c.digest == str(digest), blob.c.state == BlobState.DELETING)
    )


def _hold(connection: Connection, store_id: StoreId, version_id: VersionId, digests: Collection[Digest]) -> None:
    rows = [{"version_id": version_id, "store_id": store_id, "digest": str(digest)} for digest in sorted(digests)]
    if rows:
        connection.execute(insert_into(connection, hold).on_conflict_do_nothing(), rows)


def _may_count_on(asking: ProjectName, store_id: StoreId) -> ColumnElement[bool]:
    seen = exists(
        select(version.c.id)
        .join(model, version.c.model_id == model.c.id)
        .join(image_file, version.c.image == image_file.c.image)
        .where(image_file.c.digest == blob.c.digest, version.c.state == VersionState.READY, visible_to(asking))
        .correlate(blob)
    )
    own = exists(
        select(hold.c.digest)
        .join(version, hold.c.version_id == version.c.id)
        .join(model, version.c.model_id == model.c.id)
        .where(hold.c.store_id == store_id, hold.c.digest == blob.c.digest)
        .where(model.c.project_id.in_(select(project.c.id).where(project.c.name == str(asking))))
        .correlate(blob)
    )
    return or_(seen, own)


def _some(digests: Iterable[str]) -> Iterator[list[str]]:
    """In order, a bounded number at a time."""
    rest = iter(sorted(digests))
    while some := list(islice(rest, _AT_ONCE)):
        yield some
