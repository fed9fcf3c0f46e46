"""The library on this machine: its catalog, its store and its node, opened together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from modelshelf.catalog import blobs, replicas
from modelshelf.catalog.database import Catalog
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import NodeName
from modelshelf.nodes.local import LocalNode
from modelshelf.settings import Settings, private_folder
from modelshelf.store.directory import DirectoryStore

STORE = "local"
NODE = NodeName("local")


@dataclass(frozen=True, slots=True)
class Library:
    """Facts and bytes of one machine. `store_id` and `node_id` are the catalog's names for the two."""

    settings: Settings
    catalog: Catalog
    store: DirectoryStore
    node: LocalNode
    store_id: int
    node_id: int
    limits: Limits = DEFAULT

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Raises CatalogNotMade if `migrate` has not made the catalog yet."""
        catalog = Catalog(settings.catalog_url)
        catalog.require()
        store = DirectoryStore(settings.store)
        node = LocalNode(settings.node, store)
        with catalog.writing() as connection:
            store_id = blobs.store_id(connection, STORE, region=settings.region, kind="directory")
            node_id = replicas.node_id(connection, NODE, region=settings.region, kind="local")
        return cls(settings, catalog, store, node, store_id, node_id)


def migrate(settings: Settings) -> None:
    """The home folder is there, for its owner alone, and the catalog in it has this code's shape."""
    private_folder(settings.home)
    Catalog(settings.catalog_url).migrate()
