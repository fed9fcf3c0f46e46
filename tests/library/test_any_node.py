"""The library on a node in memory: it asks the node for everything, and finds nothing by itself on this machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from modelshelf.catalog import instances
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.versions import Version
from modelshelf.errors import EngineDied, EngineMissing, EngineOutOfMemory, PortTaken, ReplicaGone
from modelshelf.library import auditing, caching, running
from modelshelf.library.launching import prove, start
from modelshelf.library.launching.request import LaunchSettings, LaunchSpec
from modelshelf.library.launching.start import Started
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName, ServedName
from modelshelf.stop import StopToken
from tests.making import P, bring_in, gguf, ollama_source
from tests.stand_ins.memory_node import MemoryNode
from tests.stand_ins.ollama_registry import OllamaRegistry

NAME, SERVED = InstanceName("chat"), ServedName("tiny")
SETTINGS = LaunchSettings("llamacpp", memory=1 << 30)


@pytest.fixture
def node(library: Library) -> MemoryNode:
    return MemoryNode(library.store)


@pytest.fixture
def shelf(library: Library, node: MemoryNode) -> Library:
    return replace(library, node_at=replace(library.node_at, node=node))


@pytest.fixture
def version(shelf: Library, registry: OllamaRegistry) -> Version:
    registry.add_model("library/tiny", "1b", gguf(), params='{"num_ctx": 640}')
    made, _ = bring_in(shelf, ollama_source(registry))
    return made


def recorded(shelf: Library, version: Version, settings: LaunchSettings = SETTINGS) -> Instance:
    return start.record(shelf, P, LaunchSpec(NAME, ((version, SERVED),), settings), "test")


def started(shelf: Library, version: Version, settings: LaunchSettings = SETTINGS, key: str = "") -> Started:
    caching.fill(shelf, P, version, StopToken())
    return start.start(shelf, P, recorded(shelf, version, settings), ((version, SERVED),), settings, key)


def kinds(shelf: Library) -> list[str]:
    return [one.kind for one in auditing.audit(shelf, StopToken(), rehash="none", repair=False, who="test")]


def test_the_engine_gets_paths_of_the_nodes_world_and_what_the_store_says(
    shelf: Library, node: MemoryNode, version: Version
) -> None:
    made = started(shelf, version, replace(SETTINGS, key_block="door", cpus=2), "the-key").instance
    engine = node.engines[made.label]
    assert version.image is not None
    words = engine.command.arguments
    assert words[1].startswith(f"/replicas/{version.image.hex}/blobs/sha256-")
    assert words[words.index("--api-key-file") + 1] == f"/own/{made.label}/key"
    assert words[-4:] == ("--ctx-size", "640", "--threads", "2"), "the parameters are read from the store"
    assert (engine.command.cpus, engine.command.memory) == (2, 1 << 30)
    assert made.command == ("/programs/llamacpp", *words)
    assert made.handle == node.find(made.label) == engine.handle
    assert running.key_of(shelf, made) == "the-key"


def test_what_is_missing_on_the_node_is_refused_before_anything_starts(
    shelf: Library, node: MemoryNode, version: Version
) -> None:
    with pytest.raises(ReplicaGone):
        start.start(shelf, P, recorded(shelf, version), ((version, SERVED),), SETTINGS, "")
    node.programs = ("ollama",)
    with pytest.raises(EngineMissing):
        recorded(shelf, version)
    node.programs, node.taken = ("llamacpp",), {8080}
    with pytest.raises(PortTaken):
        recorded(shelf, version, replace(SETTINGS, port=8080))
    assert node.engines == {}


def test_an_instance_is_seen_stopped_and_deleted_by_its_label(shelf: Library, node: MemoryNode, version: Version) -> None:
    made = started(shelf, version)
    prove.mark_ready(shelf, P, made, {}, "test")
    label = made.instance.label
    assert "instance gone" not in kinds(shelf)
    node.end(label, left="engine 1's worker")
    assert {"instance gone", "engine left over"} <= set(kinds(shelf))
    running.stop_instance(shelf, P, NAME, "test")
    assert node.look() == {}
    running.delete_instance(shelf, P, NAME, "test")
    assert (node.labels(), node.engines) == (set(), {})


def test_what_has_no_row_is_found_and_removed(shelf: Library, node: MemoryNode) -> None:
    node.start("f" * 32, "llamacpp", start.Command(()))
    assert kinds(shelf) == ["engine without a row", "instance folder extra"]
    auditing.audit(shelf, StopToken(), rehash="none", repair=True, who="test")
    assert (node.look(), node.labels(), kinds(shelf)) == ({}, set(), [])


@pytest.mark.parametrize(("exceeded", "error"), [(False, EngineDied), (True, EngineOutOfMemory)])
def test_an_engine_that_ends_while_it_is_waited_for_says_why(
    shelf: Library, node: MemoryNode, version: Version, *, exceeded: bool, error: type[Exception]
) -> None:
    made = started(shelf, version)
    node.write(made.instance.label, "error: the reason")
    node.end(made.instance.label, status="7", exceeded_memory=exceeded)
    with pytest.raises(error) as caught:
        prove.wait_until_ready(shelf, made, StopToken())
    assert ("exit status 7" in str(caught.value), "the reason" in str(caught.value)) == (not exceeded, not exceeded)
    assert ("needed more than the 1.1 GB" in str(caught.value)) is exceeded


def test_what_was_started_and_not_recorded_is_found_again(shelf: Library, node: MemoryNode, version: Version) -> None:
    handle = started(shelf, version).instance.handle
    with shelf.catalog.writing() as connection:
        made = instances.find(connection, P, NAME)
        instances.change(connection, made.id, handle=None)
    assert start.start(shelf, P, made, ((version, SERVED),), SETTINGS, "").instance.handle == handle
    assert len(node.engines) == 1
