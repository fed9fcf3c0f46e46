"""Each source keeps what `suite` says, against its publisher's stand-in."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from modelshelf.names import InstanceName
from modelshelf.nodes.own_files import LocalFiles
from modelshelf.sources.contract import Source, SourceFile
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.instance import InstanceSource
from modelshelf.sources.uri import FilesystemUri, FolderUri, InstanceUri, OllamaName
from tests.making import gguf, hub_source, ollama_source, safetensors, write
from tests.sources.suite import Published, SourceSuite
from tests.stand_ins.http import Content
from tests.stand_ins.hub import Hub
from tests.stand_ins.memory_source import MemoryPublisher, MemorySource
from tests.stand_ins.ollama_registry import OllamaRegistry

FILES = {"config.json": b'{"model_type": "test"}', "model.safetensors": safetensors(200_000), "README.md": b"# tiny"}
OTHERS = {**FILES, "model.safetensors": safetensors(150_000, seed=1)}


def other_than(content: bytes) -> bytes:
    """Other bytes of the same size, whose header says the same."""
    return content[:-1] + bytes([content[-1] ^ 1])


class InRegistry:
    def __init__(self, registry: OllamaRegistry) -> None:
        self.registry = registry
        self._publish(gguf(200_000))

    def _publish(self, weights: bytes) -> None:
        self.manifest = self.registry.add_model("library/tiny", "1b", weights, template="{{ .Prompt }}", license="MIT")

    def source(self) -> Source:
        return ollama_source(self.registry)

    def content(self) -> dict[str, bytes]:
        manifest = json.loads(self.manifest)
        named = [layer["digest"] for layer in [manifest["config"], *manifest["layers"]]]
        blobs = {digest: self.registry.blobs[digest] for digest in named}
        files = {f"blobs/{digest.replace(':', '-')}": blob.read(0, blob.size) for digest, blob in blobs.items()}
        return {"manifest.json": self.manifest, **files}

    def publish_anew(self) -> None:
        self._publish(gguf(150_000, seed=1))

    def alter(self, file: SourceFile) -> None:
        blob = self.registry.blobs[str(file.digest)]
        self.registry.blobs[str(file.digest)] = Content(other_than(blob.read(0, blob.size)))

    def lose(self, file: SourceFile) -> None:
        del self.registry.blobs[str(file.digest)]


class OnHub:
    def __init__(self, hub: Hub) -> None:
        self.hub, self.files = hub, FILES
        self.commit = hub.repo("org/tiny").commit(FILES)

    def source(self) -> Source:
        return hub_source(self.hub, "org/tiny")

    def content(self) -> dict[str, bytes]:
        return self.files

    def publish_anew(self) -> None:
        self.files = OTHERS
        self.commit = self.hub.repo("org/tiny").commit(OTHERS)

    def alter(self, file: SourceFile) -> None:
        self.hub.repo("org/tiny").commits[self.commit][str(file.path)] = (Content(other_than(self.files[str(file.path)])), True)

    def lose(self, file: SourceFile) -> None:
        del self.hub.repo("org/tiny").commits[self.commit][str(file.path)]


class InFolder:
    """Also a folder of a shared filesystem, by its mount point."""

    def __init__(self, mount: Path, *, shared: bool) -> None:
        self.mount, self.shared = mount, shared
        self.folder = mount / "tiny"
        self._publish(FILES)

    def _publish(self, files: dict[str, bytes]) -> None:
        for path, content in files.items():
            write(self.folder / path, content)

    def source(self) -> Source:
        if self.shared:
            return FolderSource(FilesystemUri.parse("shared/tiny"), mount=self.mount)
        return FolderSource(FolderUri(self.folder))

    def content(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.folder.iterdir()}

    def publish_anew(self) -> None:
        self._publish(OTHERS)

    def alter(self, file: SourceFile) -> None:
        path = self.folder / str(file.path)
        before = path.stat()
        path.write_bytes(other_than(path.read_bytes()))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))  # a clock that did not tick hides a write

    def lose(self, file: SourceFile) -> None:
        (self.folder / str(file.path)).unlink()


class InInstance:
    """What `ollama create` leaves in a models folder."""

    def __init__(self, models: Path, registry: OllamaRegistry) -> None:
        self.models, self._made = models, InRegistry(registry)
        self._lay_out()

    def _lay_out(self) -> None:
        write(self.models / "manifests/registry.ollama.ai/library/tiny/1b", self._made.manifest)
        for path, content in self._made.content().items():
            if path != "manifest.json":
                write(self.models / path, content)

    def source(self) -> Source:
        return InstanceSource(InstanceUri(InstanceName("chat-1"), OllamaName.parse("tiny:1b")), LocalFiles(self.models))

    def content(self) -> dict[str, bytes]:
        return self._made.content()

    def publish_anew(self) -> None:
        self._made.publish_anew()
        self._lay_out()

    def alter(self, file: SourceFile) -> None:
        path = self.models / str(file.path)
        path.write_bytes(other_than(path.read_bytes()))

    def lose(self, file: SourceFile) -> None:
        (self.models / str(file.path)).unlink()


class InMemory:
    def __init__(self) -> None:
        self.publisher = MemoryPublisher({"tiny.gguf": gguf(200_000), "config.json": b"{}"})

    def source(self) -> Source:
        return MemorySource(self.publisher)

    def content(self) -> dict[str, bytes]:
        return dict(self.publisher.files)

    def publish_anew(self) -> None:
        self.publisher.files["tiny.gguf"] = gguf(150_000, seed=1)

    def alter(self, file: SourceFile) -> None:
        self.publisher.files[str(file.path)] = other_than(self.publisher.files[str(file.path)])

    def lose(self, file: SourceFile) -> None:
        del self.publisher.files[str(file.path)]


class TestOllama(SourceSuite):
    @pytest.fixture
    def published(self, registry: OllamaRegistry) -> Published:
        return InRegistry(registry)


class TestHuggingFace(SourceSuite):
    @pytest.fixture
    def published(self, hub: Hub) -> Published:
        return OnHub(hub)


class TestFolder(SourceSuite):
    @pytest.fixture
    def published(self, tmp_path: Path) -> Published:
        return InFolder(tmp_path, shared=False)


class TestFilesystem(SourceSuite):
    @pytest.fixture
    def published(self, tmp_path: Path) -> Published:
        return InFolder(tmp_path, shared=True)


class TestInstance(SourceSuite):
    @pytest.fixture
    def published(self, tmp_path: Path, registry: OllamaRegistry) -> Published:
        return InInstance(tmp_path, registry)


class TestMemory(SourceSuite):
    @pytest.fixture
    def published(self) -> Published:
        return InMemory()
