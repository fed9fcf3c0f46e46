"""Whose folders a store and a node are: the identity in each row is the one that the marker in the folder holds."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Table, select, update
from sqlalchemy.engine import Connection

from modelshelf.catalog.ids import StoreId
from modelshelf.catalog.tables import node, store

_TABLES = {"store": store, "node": node}


@dataclass(frozen=True, slots=True)
class Owned:
    """The row of a store or a node. `identity` is None until its folder was marked."""

    id: int
    identity: str | None


def find(connection: Connection, kind: str, name: str, *, lock: bool = False) -> Owned | None:
    """Return the row of this kind ("store" or "node") and name. With `lock`, other writers of it wait for this transaction."""
    table = _TABLES[kind]
    wanted = select(table.c.id, table.c.identity).where(table.c.name == name)
    row = connection.execute(wanted.with_for_update() if lock else wanted).one_or_none()
    return Owned(row.id, row.identity) if row is not None else None


def place_store(connection: Connection, store_id: StoreId, *, host: str, folder: str) -> None:
    """Record where the store's folder is, for nodes on the same machine."""
    connection.execute(update(store).where(store.c.id == store_id).values(host=host, folder=folder))


def assign(connection: Connection, kind: str, row_id: int, identity: str) -> None:
    """The folder with this identity is the row's from now on."""
    table: Table = _TABLES[kind]
    connection.execute(update(table).where(table.c.id == row_id).values(identity=identity))
