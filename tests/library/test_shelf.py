"""A shelf has its stores by region and its nodes by name; work on a node goes to that node, and to its region's store."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelshelf.catalog import replicas
from modelshelf.errors import NoSuchNode, NoSuchRegion
from modelshelf.library import auditing, caching, deleting
from modelshelf.library.opening import Library, NodeAt, Shelf, local_node
from modelshelf.names import NodeName
from modelshelf.settings import Settings
from modelshelf.stop import StopToken
from modelshelf.store.directory import DirectoryStore
from tests.making import P, bring_in, gguf
from tests.stand_ins.memory_source import MemoryPublisher, MemorySource

FIRST, SECOND = NodeName("local"), NodeName("second")


@pytest.fixture
def shelf(home: Settings, tmp_path: Path) -> Shelf:
    """Two nodes beside one store."""
    one = Shelf.open(home)
    store = one.store(home.region).store
    assert isinstance(store, DirectoryStore)
    with one.catalog.writing() as connection:
        second = replicas.node_id(connection, SECOND, region=home.region, kind="local")
    settings = replace(home, home=tmp_path / "second")
    return replace(one, nodes=(*one.nodes, NodeAt(second, SECOND, home.region, local_node(settings, store))))


def test_what_the_settings_name_is_one_store_and_one_node(home: Settings) -> None:
    shelf = Shelf.open(home)
    library = shelf.library(FIRST)
    assert (library.store, library.node) == (shelf.store(home.region).store, shelf.node(FIRST).node)
    assert str(library.store) == str(home.store)
    assert Library.open(home).node_at.id == library.node_id


def test_a_node_or_region_that_nobody_knows_is_refused_with_those_that_there_are(shelf: Shelf) -> None:
    with pytest.raises(NoSuchNode, match="Known nodes: local, second"):
        shelf.node(NodeName("third"))
    with pytest.raises(NoSuchRegion, match="region mars .* can reach: local"):
        shelf.store("mars")


def test_a_replica_is_filled_and_evicted_on_the_node_that_is_meant(shelf: Shelf) -> None:
    first, second = shelf.library(FIRST), shelf.library(SECOND)
    version, _ = bring_in(first, MemorySource(MemoryPublisher({"tiny.gguf": gguf()})))
    assert version.image is not None
    assert caching.plan_cache(second, P, version.ref).node == SECOND
    for library in (first, second):
        caching.fill(library, P, version, StopToken())
        assert list(library.node.replicas.list()) == [version.image]
    caching.evict(first, P, version.ref, who="test")
    assert list(first.node.replicas.list()) == []
    assert list(second.node.replicas.list()) == [version.image]
    for library in (first, second):
        assert auditing.audit(library, StopToken(), rehash="none", repair=False, who="test") == []
    caching.evict(second, P, version.ref, who="test")
    deleting.delete_version(first, P, version.ref, who="test")
    assert list(first.store.stored()) == []
