"""Leases: single flight across processes and machines, on the database's clock.

A holder is a fresh UUID for each run, so a process that was restarted does not inherit what it held before. What is
done under a lease is published in a transaction that renews it: a holder that was paused past its term publishes nothing.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import NewType, Self

from sqlalchemy import ColumnElement, String, cast, delete, exists, literal, or_, select, update
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import Catalog, insert_into, now
from modelshelf.catalog.ids import NodeId, StoreId, VersionId
from modelshelf.catalog.tables import lease
from modelshelf.digest import Digest
from modelshelf.errors import LeaseLost, Unavailable
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import InstanceName, ProjectName

LeaseName = NewType("LeaseName", str)
"""What a run does alone. Made by the functions below: two that mean the same work spell it the same."""
_IMPORT = "import "
_REPLICA = "replica "


def import_lease(version_id: VersionId) -> LeaseName:
    """Importing or registering the version."""
    return LeaseName(f"{_IMPORT}{version_id}")


def fetch_lease(store_id: StoreId, digest: Digest) -> LeaseName:
    """Fetching one large file into the store."""
    return LeaseName(f"fetch {store_id} {digest}")


def copy_lease(into: StoreId | str, image: Digest) -> LeaseName:
    """The lease of whoever copies the image into the store, or from another region into the region of that name."""
    return LeaseName(f"copy {into} {image}")


def replica_lease(node_id: NodeId, image: Digest) -> LeaseName:
    """Filling the image's replica on the node."""
    return LeaseName(f"{_REPLICA}{node_id} {image}")


def instance_lease(owner: ProjectName, name: InstanceName) -> LeaseName:
    """Launching, switching or stopping the instance."""
    return LeaseName(f"instance {owner}/{name}")


def build_lease(to: Path) -> LeaseName:
    """Writing an image's layout to this place."""
    return LeaseName(f"build {to}")


def clean_lease(owner: ProjectName) -> LeaseName:
    """Cleaning the project's stale versions."""
    return LeaseName(f"clean {owner}")


AUDIT = LeaseName("audit")


@dataclass(frozen=True, slots=True)
class Holding:
    """Who holds a lease, and for how many more seconds unless it is renewed."""

    name: LeaseName
    says: str
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Lease:
    """A right to do one thing alone, until it lapses."""

    name: LeaseName
    says: str
    """Who holds it, for people."""
    holder: str = field(default_factory=lambda: uuid.uuid4().hex)

    def acquire(self, connection: Connection, limits: Limits = DEFAULT) -> bool:
        """True if it is ours now: it was free, had lapsed, or was ours."""
        clock = now(connection)
        values = {"name": self.name, "holder": self.holder, "says": self.says, "expires": clock + limits.lease_seconds}
        insert = insert_into(connection, lease).values(values)
        free = or_(lease.c.expires <= clock, lease.c.holder == self.holder)
        taken = insert.on_conflict_do_update(
            index_elements=[lease.c.name],
            set_={key: insert.excluded[key] for key in ("holder", "says", "expires")},
            where=free,
        )
        return connection.execute(taken.returning(lease.c.holder)).first() is not None

    def renew(self, connection: Connection, limits: Limits = DEFAULT) -> None:
        """It is ours for another term. Raises LeaseLost if it had lapsed: decided here, by the database."""
        clock = now(connection)
        renewed = connection.execute(
            update(lease)
            .where(lease.c.name == self.name, lease.c.holder == self.holder, lease.c.expires > clock)
            .values(expires=clock + limits.lease_seconds)
        )
        if renewed.rowcount != 1:
            raise LeaseLost(what=self.name)

    def release(self, connection: Connection) -> None:
        connection.execute(delete(lease).where(lease.c.name == self.name, lease.c.holder == self.holder))


def holding(connection: Connection, name: LeaseName) -> Holding | None:
    """Who holds the lease now; None if nobody does."""
    return holdings(connection, [name]).get(name)


def holdings(connection: Connection, names: Collection[LeaseName]) -> dict[LeaseName, Holding]:
    """Who holds each of these leases now; those that nobody holds are left out."""
    left = lease.c.expires - now(connection)
    rows = connection.execute(select(lease.c.name, lease.c.says, left.label("left")).where(lease.c.name.in_(names)))
    return {LeaseName(row.name): Holding(LeaseName(row.name), row.says, row.left) for row in rows if row.left > 0}


def importing(connection: Connection) -> bool:
    """An import runs now, of whatever version."""
    running = select(lease.c.name).where(lease.c.name.startswith(_IMPORT), lease.c.expires > now(connection)).limit(1)
    return connection.execute(running).first() is not None


def being_imported(connection: Connection, version_id: ColumnElement[int]) -> ColumnElement[bool]:
    """True for a row whose version an import is at now."""
    named = literal(_IMPORT) + cast(version_id, String)
    return exists(select(lease.c.name).where(lease.c.name == named, lease.c.expires > now(connection)))


def being_filled(connection: Connection, node_id: NodeId, image: ColumnElement[str | None]) -> ColumnElement[bool]:
    """True for a row whose image a run fills on the node now."""
    named = literal(f"{_REPLICA}{node_id} ") + image
    return exists(select(lease.c.name).where(lease.c.name == named, lease.c.expires > now(connection)))


class Renewal:
    """Keeps a lease while it is entered, from a thread of its own: nothing that blocks us can let it lapse."""

    def __init__(self, catalog: Catalog, held: Lease, limits: Limits = DEFAULT) -> None:
        self._catalog, self._lease, self._limits = catalog, held, limits
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"renew {held.name}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Renewed no more, and released."""
        self._ended.set()
        self._thread.join()
        with self._catalog.writing() as connection:
            self._lease.release(connection)

    def _run(self) -> None:
        while not self._ended.wait(self._limits.lease_seconds / 3):
            try:
                with self._catalog.writing() as connection:
                    self._lease.renew(connection, self._limits)
            except LeaseLost:
                return
            except Unavailable:  # the database is away for a moment: the publishing transaction decides
                continue
