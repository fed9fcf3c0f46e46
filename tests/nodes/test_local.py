"""The node that this machine is keeps what every node keeps."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from modelshelf.digest import Digest
from modelshelf.engines.contract import Command
from modelshelf.nodes.local import LocalNode
from modelshelf.nodes.memory import MemoryLimits
from modelshelf.nodes.programs import Programs
from modelshelf.store.directory import DirectoryStore
from tests.nodes.local import handled
from tests.nodes.suite import NodeSuite
from tests.nodes.test_members import until

_OURS = ("engine.log", "engine.log.1", "process.json", "key", "layout.json")


class TestLocalNode(NodeSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> DirectoryStore:
        return DirectoryStore(tmp_path / "store")

    @pytest.fixture
    def node(self, tmp_path: Path, store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalNode]:
        monkeypatch.setenv("PATH", "/usr/bin:/bin")  # no vLLM
        made = LocalNode(tmp_path / "node", store, MemoryLimits(), Programs({"llamacpp_server": sys.executable}))
        yield made
        for label in made.labels():
            made.stop(label, 0)

    def command(self) -> Command:
        return Command(("-c", "import time; print('ready', flush=True); time.sleep(600)"))

    def end(self, node: LocalNode, label: str) -> None:
        os.kill(handled(node.find(label)).pid, signal.SIGKILL)

    def laid_out(self, node: LocalNode, label: str) -> dict[str, bytes]:
        own = node.own_folder(label)
        files = [file for file in own.rglob("*") if file.is_file() and file.name not in _OURS]
        return {str(file.relative_to(own)): file.read_bytes() for file in files}

    def write(self, node: LocalNode, label: str, path: str, content: bytes) -> None:
        (node.own_folder(label) / path).write_bytes(content)

    def alter(self, node: LocalNode, image: Digest, path: str) -> None:
        file = node.replicas.files_of(image) / path
        content = file.read_bytes()
        file.unlink()  # its bytes are the store's own
        file.write_bytes(bytes(len(content)))

    def until(self, condition: Callable[[], bool]) -> None:
        until(condition)

    @contextmanager
    def taken(self, node: LocalNode) -> Iterator[int]:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            yield listening.getsockname()[1]

    def test_an_engine_that_ended_by_itself_tells_its_starter_how(self, node: LocalNode) -> None:
        node.start("a" * 32, "llamacpp", Command(("-c", "raise SystemExit(7)")))
        until(lambda: node.find("a" * 32) is None)
        assert node.exit_status("a" * 32) == "7"
        assert node.exit_status("a" * 32) == "unknown", "it can be asked once"
