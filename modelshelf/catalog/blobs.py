"""Which blobs a store holds, who may count on them, and which of them nobody needs any more.

A digest alone is no proof of a right to the bytes: an import counts on a blob without fetching it only if it belongs to a
version that its project may see, or if an import of that project holds it: it fetched it and proved it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice

from sqlalchemy import Row, delete, exists, func, insert, or_, select, update
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import insert_into
from modelshelf.catalog.projects import visible_to
from modelshelf.catalog.tables import blob, hold, image, image_file, model, project, store, version
from modelshelf.digest import Blob, Digest
from modelshelf.errors import BlobBeingDeleted
from modelshelf.names import ProjectName

_ROWS_AT_ONCE = 10_000
_AT_ONCE = 500
"""Digests in one statement: databases bound its parameters."""


def store_id(connection: Connection, name: str, *, region: str, kind: str) -> int:
    """The store's id; its row is made if it is not there."""
    found = connection.execute(select(store.c.id).where(store.c.name == name)).scalar_one_or_none()
    if found is not None:
        return int(found)
    row = insert(store).values(name=name, region=region, kind=kind).returning(store.c.id)
    return int(connection.execute(row).scalar_one())


def record(connection: Connection, at: int, present: Collection[Blob]) -> None:
    """The blobs are in the store. Raises BlobBeingDeleted if a clean-up is just removing one of them."""
    if not present:
        return
    rows = [{"store_id": at, "digest": str(one.digest), "size": one.size, "state": "present"} for one in sorted(present)]
    connection.execute(insert_into(connection, blob).on_conflict_do_nothing(), rows)
    for some in _some(str(one.digest) for one in present):
        there = select(blob.c.digest, blob.c.state).where(blob.c.store_id == at, blob.c.digest.in_(some))
        _require_staying(connection.execute(there.with_for_update(read=True)))


def hold_fetched(connection: Connection, at: int, version_id: int, fetched: Collection[Blob]) -> None:
    """This import fetched the blobs: they are recorded, and nobody deletes them before the import publishes or gives up."""
    record(connection, at, fetched)
    _hold(connection, at, version_id, {one.digest for one in fetched})


def hold_known(connection: Connection, asking: ProjectName, at: int, version_id: int, wanted: Iterable[Digest]) -> set[Digest]:
    """Those of `wanted` that the import may count on; it holds them from this transaction on."""
    seen = exists(
        select(version.c.id)
        .join(model, version.c.model_id == model.c.id)
        .join(image_file, version.c.image == image_file.c.image)
        .where(image_file.c.digest == blob.c.digest, version.c.state == "ready", visible_to(asking))
        .correlate(blob)
    )
    own = exists(
        select(hold.c.digest)
        .join(version, hold.c.version_id == version.c.id)
        .join(model, version.c.model_id == model.c.id)
        .where(hold.c.store_id == at, hold.c.digest == blob.c.digest)
        .where(model.c.project_id.in_(select(project.c.id).where(project.c.name == str(asking))))
        .correlate(blob)
    )
    known: set[Digest] = set()
    for some in _some({str(digest) for digest in wanted}):
        here = (blob.c.store_id == at) & blob.c.digest.in_(some)
        found = select(blob.c.digest, blob.c.state).where(here, or_(seen, own)).with_for_update(read=True, of=blob)
        known |= _require_staying(connection.execute(found))
    _hold(connection, at, version_id, known)
    return known


def release_holds(connection: Connection, version_id: int) -> None:
    connection.execute(delete(hold).where(hold.c.version_id == version_id))


def sample(connection: Connection, at: int, limit: int) -> list[Digest]:
    """Return up to `limit` of the blobs that the store holds by the catalog."""
    rows = connection.execute(select(blob.c.digest).where(blob.c.store_id == at, blob.c.state == "present").limit(limit))
    return [Digest.parse(row.digest) for row in rows]


def condemn_unused(connection: Connection, at: int, candidates: Iterable[Digest]) -> list[Digest]:
    """Those of `candidates` that nothing refers to, now marked: no import counts on them any more.

    What refers to a blob: an image's files, an image's manifest or config, an import's hold.
    """
    used = or_(
        exists(select(image_file.c.digest).where(image_file.c.digest == blob.c.digest)),
        exists(select(image.c.digest).where(image.c.digest == blob.c.digest)),
        exists(select(image.c.digest).where(image.c.config == blob.c.digest)),
        exists(select(hold.c.digest).where(hold.c.store_id == at, hold.c.digest == blob.c.digest)),
    )
    marked: list[Digest] = []
    for some in _some({str(digest) for digest in candidates}):
        # who counts on one of these just now is waited for here, and seen by the statement after
        connection.execute(select(blob.c.digest).where(blob.c.store_id == at, blob.c.digest.in_(some)).with_for_update())
        unused = update(blob).where(blob.c.store_id == at, blob.c.digest.in_(some), ~used).values(state="deleting")
        marked += [Digest.parse(row.digest) for row in connection.execute(unused.returning(blob.c.digest))]
    return marked


def condemned(connection: Connection, at: int) -> list[Digest]:
    """What is marked for deletion, by us or by a run that was killed."""
    rows = connection.execute(select(blob.c.digest).where(blob.c.store_id == at, blob.c.state == "deleting"))
    return [Digest.parse(row.digest) for row in rows]


def recorded(connection: Connection, at: int) -> Iterator[tuple[Digest, int, str]]:
    """Every blob that is recorded for the store, with its size in bytes and its state, read as it is asked for."""
    rows = select(blob.c.digest, blob.c.size, blob.c.state).where(blob.c.store_id == at).order_by(blob.c.digest)
    for row in connection.execute(rows, execution_options={"yield_per": _ROWS_AT_ONCE}):
        yield Digest.parse(row.digest), row.size, row.state


def sizes(connection: Connection, at: int, wanted: Iterable[str]) -> dict[Digest, int]:
    """Those of the named digests that are recorded for the store, with their sizes in bytes."""
    found: dict[Digest, int] = {}
    for some in _some(wanted):
        rows = connection.execute(select(blob.c.digest, blob.c.size).where(blob.c.store_id == at, blob.c.digest.in_(some)))
        found |= {Digest.parse(row.digest): row.size for row in rows}
    return found


def total(connection: Connection, at: int) -> tuple[int, int]:
    """How many blobs are recorded for the store, and their bytes."""
    both = select(func.count(), func.coalesce(func.sum(blob.c.size), 0)).where(blob.c.store_id == at)
    count, size = connection.execute(both).one()
    return int(count), int(size)


def lose(connection: Connection, at: int, digest: Digest) -> None:
    """The store has no such blob, and nobody counts on it; it can be fetched again."""
    connection.execute(delete(hold).where(hold.c.store_id == at, hold.c.digest == str(digest)))
    connection.execute(delete(blob).where(blob.c.store_id == at, blob.c.digest == str(digest)))


def forget(connection: Connection, at: int, digest: Digest) -> None:
    """The blob's file is gone, and so is its row."""
    connection.execute(delete(blob).where(blob.c.store_id == at, blob.c.digest == str(digest), blob.c.state == "deleting"))


def _hold(connection: Connection, at: int, version_id: int, digests: Collection[Digest]) -> None:
    rows = [{"version_id": version_id, "store_id": at, "digest": str(digest)} for digest in sorted(digests)]
    if rows:
        connection.execute(insert_into(connection, hold).on_conflict_do_nothing(), rows)


def _require_staying(rows: Iterable[Row[tuple[str, str]]]) -> set[Digest]:
    """The rows are locked until this transaction ends, so that a clean-up that begins meanwhile sees what it leaves."""
    digests = set()
    for row in rows:
        if row.state == "deleting":
            raise BlobBeingDeleted(digest=row.digest, holder="a deletion")
        digests.add(Digest.parse(row.digest))
    return digests


def _some(digests: Iterable[str]) -> Iterator[list[str]]:
    """In order, a bounded number at a time."""
    rest = iter(sorted(digests))
    while some := list(islice(rest, _AT_ONCE)):
        yield some
