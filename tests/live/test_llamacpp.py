"""Real llama.cpp, as the wheel has it and as a `llama-server` of its own: each category, keys, and what a failure says."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest

from modelshelf.catalog.instances import Instance
from modelshelf.engines.contract import Engine
from modelshelf.engines.table import engine_called
from modelshelf.errors import EngineDied, EngineNotReady
from modelshelf.library.launching.models import models_of
from modelshelf.library.launching.request import LaunchRequest
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.names import InstanceName, ServedName
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri
from modelshelf.wire import Answer, Authorization, Url, Wire, json_body
from tests import models
from tests.making import NOTHING_ASKED, P, bring_in, launch_all
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live
NAME, SERVED = InstanceName("real"), ServedName("m")


def launch(library: Library, file: Path, category: str, request: LaunchRequest = NOTHING_ASKED, key: str = "") -> Instance:
    version, _ = bring_in(library, FolderSource(FolderUri(file)), name="m", category=category, limits=DEFAULT)
    return launch_all(library, NAME, ((version, SERVED),), request, key)


def ask(instance: Instance, path: str, body: dict[str, object], key: str = "") -> Answer:
    url, authorization = Url(f"http://127.0.0.1:{instance.port}{path}"), Authorization.bearer(key) if key else None
    headers = {"Content-Type": "application/json"}
    return Wire().request(
        "POST", url, headers=headers, body=json_body({"model": "m", **body}), authorization=authorization, seconds=120
    )


def test_it_chats(llamacpp: Library, gemma: Path) -> None:
    instance = launch(llamacpp, gemma, "chat", LaunchRequest(cpus=1))
    question = [{"role": "user", "content": "What is the capital of France? Answer with one word."}]
    body: dict[str, object] = {"messages": question, "max_tokens": 16, "temperature": 0}
    assert ask(instance, "/v1/chat/completions", body).json()["choices"][0]["message"]["content"]
    said = ask(instance, "/v1/completions", {"prompt": "The capital of France is", "max_tokens": 8, "temperature": 0}).json()
    assert "capital" in said["choices"][0]["text"]
    sizes = Wire().request("GET", Url(f"http://127.0.0.1:{instance.port}/props")).json()
    assert (sizes["total_slots"], sizes["default_generation_settings"]["n_ctx"]) == (1, 8192), "the same in both"


def test_other_web_pages_may_not_read_it(llamacpp: Library, minilm: dict[str, Path]) -> None:
    instance = launch(llamacpp, minilm["embedding"], "embedding")
    url = Url(f"http://127.0.0.1:{instance.port}/v1/models")
    for origin, allowed in (("http://evil.example", None), ("http://localhost:3000", "http://localhost:3000")):
        answer = Wire().request("GET", url, headers={"Origin": origin})
        assert answer.headers.get("access-control-allow-origin") == allowed


def test_it_embeds(llamacpp: Library, minilm: dict[str, Path]) -> None:
    """The figures are those of the model's publisher: the same in every engine."""
    instance = launch(llamacpp, minilm["embedding"], "embedding")
    texts = ["hello", "hi", "quantum physics"]
    data = ask(instance, "/v1/embeddings", {"input": texts}).json()["data"]
    hello, hi, physics = (one["embedding"] for one in sorted(data, key=lambda one: int(one["index"])))
    assert len(hello) == 384
    assert math.isclose(_dot(hello, hello), 1, abs_tol=1e-3)
    assert _dot(hello, hi) > 0.7 > 0.2 > _dot(hello, physics)


def test_an_adapter_beside_the_model_is_applied(llamacpp: Library, minilm: dict[str, Path], tmp_path: Path) -> None:
    """Its embeddings are others than those of the model alone, and the same when the adapter has no weight."""
    folder = tmp_path / "adapted"
    folder.mkdir()
    shutil.copy(minilm["embedding"], folder / "minilm.gguf")
    models.write_adapter_gguf(folder / "lora.gguf")
    alone, _ = bring_in(
        llamacpp, FolderSource(FolderUri(minilm["embedding"])), name="alone", category="embedding", limits=DEFAULT
    )
    adapted, _ = bring_in(llamacpp, FolderSource(FolderUri(folder)), name="adapted", category="embedding", limits=DEFAULT)
    assert adapted.parts is not None and list(map(str, adapted.parts.adapters)) == ["lora.gguf"]

    def embedded(instance: Instance) -> list[float]:
        (found,) = ask(instance, "/v1/embeddings", {"input": ["hello"]}).json()["data"]
        return [float(number) for number in found["embedding"]]

    base = embedded(launch_all(llamacpp, InstanceName("alone"), ((alone, SERVED),)))
    instance = launch_all(llamacpp, InstanceName("adapted"), ((adapted, SERVED),))
    assert abs(_dot(base, embedded(instance))) < 0.9, "the adapter changes what is answered"
    assert _lora(instance, []) == [1.0]
    assert _lora(instance, [{"id": 0, "scale": 0}]) == [0.0]
    assert math.isclose(_dot(base, embedded(instance)), 1, abs_tol=1e-4)


def _lora(instance: Instance, scales: list[dict[str, object]]) -> list[float]:
    """Set the scale of its adapters, and return what the server lists afterwards."""
    url, headers = Url(f"http://127.0.0.1:{instance.port}/lora-adapters"), {"Content-Type": "application/json"}
    if scales:
        assert Wire().request("POST", url, headers=headers, body=json.dumps(scales).encode()).status == 200
    return [float(one["scale"]) for one in Wire().request("GET", url).json()]


def test_it_scores(llamacpp: Library, minilm: dict[str, Path]) -> None:
    instance = launch(llamacpp, minilm["reranker"], "reranker")
    body: dict[str, object] = {"query": "capital of France", "documents": ["Paris is the capital.", "Bananas are yellow."]}
    results = ask(instance, "/v1/rerank", body).json()["results"]
    assert sorted(one["index"] for one in results) == [0, 1]
    assert all(math.isfinite(one["relevance_score"]) for one in results)


@pytest.mark.parametrize("category", ["chat", "embedding", "reranker"])
def test_with_a_key_it_refuses_a_request_without(llamacpp: Library, gemma: Path, minilm: dict[str, Path], category: str) -> None:
    instance = launch(llamacpp, minilm.get(category, gemma), category, LaunchRequest(key_block="door"), key="the-key")
    engine, mounted = engine_called("llamacpp"), _mounted(llamacpp, instance)
    url = Url(f"http://127.0.0.1:{instance.port}")
    assert engine.refuses_without_key(Wire(), url, mounted)
    engine.first_answer(Wire(), url, Authorization.bearer("the-key"), mounted)


def test_without_a_key_nothing_is_refused(llamacpp: Library, minilm: dict[str, Path]) -> None:
    instance = launch(llamacpp, minilm["embedding"], "embedding")
    engine: Engine = engine_called("llamacpp")
    assert not engine.refuses_without_key(Wire(), Url(f"http://127.0.0.1:{instance.port}"), _mounted(llamacpp, instance))


def test_common_options_are_taken(llamacpp: Library, gemma: Path) -> None:
    arguments = "--jinja -fa on -ctk q8_0 -ctv q8_0 --no-mmap --metrics --threads-batch 1 --no-webui --temp 0 --ctx-size 512"
    instance = launch(llamacpp, gemma, "chat", LaunchRequest(arguments=tuple(arguments.split())))
    metrics = Wire().request("GET", Url(f"http://127.0.0.1:{instance.port}/metrics"))
    assert (metrics.status, b"llamacpp:" in metrics.body) == (200, True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--jinjaa",), "invalid argument: --jinjaa"),
        (("--lora", "/nowhere/lora.gguf"), "lora"),
        (("--cache-type-k", "q9_9"), "q9_9|cache"),
    ],
)
def test_a_failed_start_says_its_reason(
    llamacpp: Library, minilm: dict[str, Path], arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(EngineDied, match=words):
        launch(llamacpp, minilm["embedding"], "embedding", LaunchRequest(arguments=arguments))


def test_an_embedding_model_that_is_launched_as_chat_says_why_it_is_none(llamacpp: Library, minilm: dict[str, Path]) -> None:
    """The wheel aborts while it starts, the server answers 500 to the first question."""
    with pytest.raises((EngineDied, EngineNotReady), match=r"GGML_ASSERT\(n_outputs_max|does not logits computation"):
        launch(llamacpp, minilm["embedding"], "chat")


def test_the_parameters_of_an_ollama_version_hold(llamacpp: Library, registry: OllamaRegistry, gemma: Path) -> None:
    """`num_ctx` is the context, and generation ends at the first `stop`."""
    from tests.making import ollama_source

    params = '{"num_ctx": 640, "temperature": 0, "stop": [" country"]}'
    registry.add_model("library/gemma3", "270m", gemma, params=params)
    version, _ = bring_in(llamacpp, ollama_source(registry, "library/gemma3:270m", limits=DEFAULT), limits=DEFAULT)
    instance = launch_all(llamacpp, NAME, ((version, SERVED),))
    props = Wire().request("GET", Url(f"http://127.0.0.1:{instance.port}/props")).json()
    assert props["default_generation_settings"]["n_ctx"] == 768, "640, padded to a multiple of 256"
    said = ask(instance, "/v1/completions", {"prompt": "The capital of France is", "max_tokens": 16}).json()["choices"][0]
    assert (said["text"], said["finish_reason"]) == (" the capital of the", "stop")


def _mounted(library: Library, instance: Instance) -> Any:
    from modelshelf.catalog import versions

    with library.catalog.reading() as connection:
        serves = tuple((versions.get(connection, P, one.version_id), one.served_name) for one in instance.serves)
    return models_of(library, P, serves)[0].model


def _dot(left: list[float], right: list[float]) -> float:
    return sum(one * other for one, other in zip(left, right, strict=True))
