"""The node in memory, which library tests use, keeps what every node keeps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from modelshelf.digest import Digest
from modelshelf.engines.contract import Command
from modelshelf.nodes.contract import Node
from tests.nodes.suite import LABEL, NodeSuite
from tests.stand_ins.memory_node import MemoryNode
from tests.stand_ins.memory_store import MemoryStore


class TestMemoryNode(NodeSuite):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def node(self, store: MemoryStore) -> MemoryNode:
        return MemoryNode(store, programs=("llamacpp", "ollama"))

    def command(self) -> Command:
        return Command(())

    def start(self, node: Node, label: str = LABEL) -> str:
        handle = node.start(label, "llamacpp", self.command())
        assert isinstance(node, MemoryNode)
        node.write(label, "ready")
        return handle

    def end(self, node: MemoryNode, label: str) -> None:
        node.end(label)

    def laid_out(self, node: MemoryNode, label: str) -> dict[str, bytes]:
        return node.kept[label].files

    def write(self, node: MemoryNode, label: str, path: str, content: bytes) -> None:
        node.kept[label].files[path] = content

    def alter(self, node: MemoryNode, image: Digest, path: str) -> None:
        held = node.replicas.held[image]
        held[path] = bytes(len(held[path]))

    @contextmanager
    def taken(self, node: MemoryNode) -> Iterator[int]:
        node.taken = {50_000}
        yield 50_000
