"""What a process can reach, opened together: the catalog, and by their names the stores and nodes.

`Shelf` is all of that; today it has one store and one node, those of this machine. `Library` is what one piece of work needs
of it: a node, and the store of that node's region.
"""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from modelshelf.catalog import replicas
from modelshelf.catalog.database import Catalog
from modelshelf.catalog.ids import NodeId, StoreId
from modelshelf.errors import NoSuchRegion, OtherNode
from modelshelf.library import identity
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import NodeName
from modelshelf.nodes.contract import Node
from modelshelf.nodes.local import LocalNode
from modelshelf.nodes.memory import MemoryLimits
from modelshelf.nodes.programs import Programs
from modelshelf.settings import Settings, private_folder
from modelshelf.store.contract import LocalStore, Store
from modelshelf.store.directory import DirectoryStore


@dataclass(frozen=True, slots=True)
class StoreAt:
    """The store of a region, and the catalog's id of it."""

    id: StoreId
    region: str
    store: Store


@dataclass(frozen=True, slots=True)
class NodeAt:
    """A node by its name, the region that it is in, and the catalog's id of it."""

    id: NodeId
    name: NodeName
    region: str
    node: Node


@dataclass(frozen=True, slots=True)
class Library:
    """The catalog, one node, and the store of its region."""

    settings: Settings
    catalog: Catalog
    store_at: StoreAt
    node_at: NodeAt
    limits: Limits = DEFAULT

    @classmethod
    def open(cls, settings: Settings) -> Library:
        """Return the library on this machine. Raises as `Shelf.open` does."""
        return Shelf.open(settings).library(settings.node_name)

    @property
    def store(self) -> Store:
        return self.store_at.store

    @property
    def store_id(self) -> StoreId:
        return self.store_at.id

    @property
    def node(self) -> Node:
        return self.node_at.node

    @property
    def node_id(self) -> NodeId:
        return self.node_at.id


@dataclass(frozen=True, slots=True)
class Shelf:
    """The catalog, and every store and node that this process can reach."""

    settings: Settings
    catalog: Catalog
    stores: tuple[StoreAt, ...]
    nodes: tuple[NodeAt, ...]
    limits: Limits = DEFAULT

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Nothing is written. Raises CatalogNotMade if `migrate` has not made the catalog yet, OtherHome if it is another's."""
        catalog = Catalog(settings.catalog_url)
        with ExitStack() as opened:
            opened.callback(catalog.close)
            catalog.require()
            store = DirectoryStore(settings.store)
            store_id, node_id = identity.find_ids(catalog, settings, store)
            opened.pop_all()
        node = NodeAt(node_id, settings.node_name, settings.region, local_node(settings, store))
        return cls(settings, catalog, (StoreAt(store_id, settings.region, store),), (node,))

    @classmethod
    def of(cls, library: Library) -> Self:
        """Return a shelf that has the library's store and node alone."""
        return cls(library.settings, library.catalog, (library.store_at,), (library.node_at,), library.limits)

    def store(self, region: str) -> StoreAt:
        """Return the region's store. Raises NoSuchRegion."""
        for found in self.stores:
            if found.region == region:
                return found
        raise NoSuchRegion(region=region, known=", ".join(sorted(one.region for one in self.stores)))

    def node(self, name: NodeName) -> NodeAt:
        """Return the node. Raises NoSuchNode, or OtherNode if only a process on that machine can reach it."""
        for found in self.nodes:
            if found.name == name:
                return found
        with self.catalog.reading() as connection:
            replicas.require_node(connection, name)
        raise OtherNode(node=name, here=", ".join(str(one.name) for one in self.nodes))

    def library(self, name: NodeName) -> Library:
        """Return what work on the node needs: the node, and its region's store. Raises as `node` and `store` do."""
        node = self.node(name)
        return Library(self.settings, self.catalog, self.store(node.region), node, self.limits)


def open_store(folder: Path) -> LocalStore:
    """Return the store in a folder of this machine."""
    return DirectoryStore(folder)


def local_node(settings: Settings, store: LocalStore) -> Node:
    """Return the node that this machine is, as its settings have it."""
    programs = {"llamacpp_server": settings.llamacpp_server} if settings.llamacpp_server is not None else {}
    return LocalNode(settings.node, store, MemoryLimits(settings.cgroup), Programs(programs))


def migrate(settings: Settings, *, take_over: bool = False) -> None:
    """The home folder is there, for its owner alone; the catalog has this code's shape, and its store and node are this home's.

    Raises OtherHome if they are another home's, unless this one is to `take_over`.
    """
    private_folder(settings.home)
    with closing(Catalog(settings.catalog_url)) as catalog:
        catalog.migrate()
        store = DirectoryStore(settings.store)
        node = local_node(settings, store)
        if take_over:
            identity.take_over(catalog, settings, node)
        else:
            identity.join(catalog, settings, store)
