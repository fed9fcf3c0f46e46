"""Each engine keeps what every engine keeps, for each format that it takes."""

from __future__ import annotations

import json

import pytest

from modelshelf.digest import Digest
from modelshelf.engines.contract import Engine, Model
from modelshelf.engines.llamacpp import LlamaCpp
from modelshelf.engines.ollama import Ollama
from modelshelf.engines.ollama_layers import MANIFEST, blob_path
from modelshelf.engines.table import ENGINES
from modelshelf.engines.vllm import Vllm
from modelshelf.formats.image import PackedFile
from modelshelf.formats.kinds import Format, Role
from modelshelf.formats.parts import Parts
from modelshelf.names import FilePath, ServedName
from tests.engines.suite import EngineSuite, file

SERVED = ServedName("m")


def gguf() -> Model:
    parts = Parts(FilePath("m.gguf"), adapters=(FilePath("lora.gguf"),))
    return Model(SERVED, "chat", Format.GGUF, (file("m.gguf"), file("lora.gguf")), parts, 512, "llama")


def ollama() -> Model:
    """A version of an Ollama registry, with parameters."""
    params, weights = b'{"num_ctx": 640}', Digest.of(b"weights")
    kind = "application/vnd.ollama.image."
    layers = [
        {"mediaType": f"{kind}model", "digest": str(weights), "size": 7},
        {"mediaType": f"{kind}params", "digest": str(Digest.of(params)), "size": len(params)},
    ]
    manifest = json.dumps({"schemaVersion": 2, "config": {}, "layers": layers}).encode()
    files = (
        PackedFile(blob_path(weights), Role.WEIGHT, weights, 7),
        PackedFile(blob_path(Digest.of(params)), Role.CONFIG, Digest.of(params), len(params)),
        PackedFile(MANIFEST, Role.CONFIG, Digest.of(manifest), len(manifest)),
    )
    return Model(SERVED, "chat", Format.OLLAMA, files, contents={MANIFEST: manifest, blob_path(Digest.of(params)): params})


class TestLlamaCpp(EngineSuite):
    """The wheel's server, and a `llama-server` that a setting names: which program it is, the node decides."""

    @pytest.fixture
    def engine(self) -> Engine:
        return LlamaCpp()

    @pytest.fixture(params=[gguf, ollama], ids=["gguf", "ollama"])
    def model(self, request: pytest.FixtureRequest) -> Model:
        made: Model = request.param()
        return made


class TestOllama(EngineSuite):
    @pytest.fixture
    def engine(self) -> Engine:
        return Ollama()

    @pytest.fixture(params=[gguf, ollama], ids=["gguf", "ollama"])
    def model(self, request: pytest.FixtureRequest) -> Model:
        made: Model = request.param()
        return made


class TestVllm(EngineSuite):
    @pytest.fixture
    def engine(self) -> Engine:
        return Vllm()

    @pytest.fixture
    def model(self) -> Model:
        files = (file("config.json", Role.CONFIG), file("model.safetensors"))
        return Model(SERVED, "chat", Format.SAFETENSORS, files)


def test_every_engine_of_the_table_passes_the_suite() -> None:
    tested = {suite.__name__.removeprefix("Test").lower() for suite in (TestLlamaCpp, TestOllama, TestVllm)}
    assert tested == set(ENGINES)
