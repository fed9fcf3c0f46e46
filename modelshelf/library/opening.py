"""The library on this machine: its catalog, its store and its node, opened together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from modelshelf.catalog.database import Catalog
from modelshelf.catalog.ids import NodeId, StoreId
from modelshelf.library import identity
from modelshelf.limits import DEFAULT, Limits
from modelshelf.nodes.contract import Node
from modelshelf.nodes.local import LocalNode
from modelshelf.nodes.memory import MemoryLimits
from modelshelf.nodes.programs import Programs
from modelshelf.settings import Settings, private_folder
from modelshelf.store.contract import LocalStore, Store
from modelshelf.store.directory import DirectoryStore

STORE = identity.STORE
NODE = identity.NODE


@dataclass(frozen=True, slots=True)
class Library:
    """Facts and bytes of one machine. `store_id` and `node_id` are the catalog's names for the two."""

    settings: Settings
    catalog: Catalog
    store: Store
    node: Node
    store_id: StoreId
    node_id: NodeId
    limits: Limits = DEFAULT

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Nothing is written. Raises CatalogNotMade if `migrate` has not made the catalog yet, OtherHome if it is another's."""
        catalog = Catalog(settings.catalog_url)
        catalog.require()
        store = DirectoryStore(settings.store)
        store_id, node_id = identity.find_ids(catalog, settings, store)
        return cls(settings, catalog, store, local_node(settings, store), store_id, node_id)


def local_node(settings: Settings, store: LocalStore) -> Node:
    """Return the node that this machine is, as its settings have it."""
    programs = {"llamacpp_server": settings.llamacpp_server} if settings.llamacpp_server is not None else {}
    return LocalNode(settings.node, store, MemoryLimits(settings.cgroup), Programs(programs))


def migrate(settings: Settings, *, take_over: bool = False) -> None:
    """The home folder is there, for its owner alone; the catalog has this code's shape, and its store and node are this home's.

    Raises OtherHome if they are another home's, unless this one is to `take_over`.
    """
    private_folder(settings.home)
    catalog = Catalog(settings.catalog_url)
    catalog.migrate()
    store = DirectoryStore(settings.store)
    node = local_node(settings, store)
    if take_over:
        identity.take_over(catalog, settings, node)
    else:
        identity.join(catalog, settings, store)
    catalog.close()
