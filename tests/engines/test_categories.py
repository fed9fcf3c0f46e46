"""A category is asked its own question, and refused by an engine that does not serve it, before anything starts."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import PurePosixPath

import pytest

from modelshelf.engines.contract import Engine, Model, Surroundings
from modelshelf.engines.llamacpp import LlamaCpp
from modelshelf.engines.ollama import Ollama
from modelshelf.engines.table import require_served
from modelshelf.engines.vllm import Vllm
from modelshelf.errors import BadName, CategoryMismatch, UnexpectedAnswer
from modelshelf.formats.kinds import Format
from modelshelf.names import ServedName
from modelshelf.wire import Url, Wire

TOKEN, VECTOR = {"usage": {"completion_tokens": 1}}, {"data": [{"embedding": [0.5, 0.5]}]}
SCORES = {"results": [{"index": 0, "relevance_score": 3}, {"index": 1, "relevance_score": -8.25}]}
GENERATED, EMBEDDED = {"response": "x", "eval_count": 1}, {"embeddings": [[0.5, 0.5]]}


@contextmanager
def answering(answers: dict[str, object], status: int = 200) -> Iterator[tuple[Url, list[tuple[str, dict[str, object]]]]]:
    """A server that gives each path its answer, and lists what was asked."""
    asked: list[tuple[str, dict[str, object]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            known = self.path in answers
            body = json.dumps(answers.get(self.path, {"error": "no such path"})).encode()
            self.send_response(status if known else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield Url(f"http://127.0.0.1:{server.server_port}"), asked
        server.shutdown()


def model(category: str, format: Format = Format.GGUF) -> Model:
    return Model(ServedName("m"), category, format, ())


@pytest.mark.parametrize(
    ("engine", "category", "path", "answer", "expects"),
    [
        (LlamaCpp(), "chat", "/v1/completions", TOKEN, {"prompt", "max_tokens"}),
        (LlamaCpp(), "embedding", "/v1/embeddings", VECTOR, {"input"}),
        (LlamaCpp(), "reranker", "/v1/rerank", SCORES, {"query", "documents"}),
        (Vllm(), "reranker", "/v1/rerank", SCORES, {"query", "documents"}),
        (Ollama(), "chat", "/api/generate", GENERATED, {"prompt", "stream", "options"}),
        (Ollama(), "embedding", "/api/embed", EMBEDDED, {"input"}),
    ],
)
def test_each_category_is_asked_its_own_question(
    engine: Engine, category: str, path: str, answer: object, expects: set[str]
) -> None:
    with answering({path: answer}) as (url, asked):
        engine.first_answer(Wire(), url, None, model(category))
    ((where, question),) = asked
    assert (where, set(question)) == (path, {"model", *expects})


@pytest.mark.parametrize(
    ("category", "path", "answer"),
    [
        ("chat", "/v1/completions", {"usage": {"completion_tokens": 0}}),
        ("embedding", "/v1/embeddings", {"data": [{"embedding": []}]}),
        ("reranker", "/v1/rerank", {"results": []}),
        ("reranker", "/v1/rerank", {"results": [{"relevance_score": None}]}),
    ],
)
def test_an_empty_answer_proves_nothing(category: str, path: str, answer: object) -> None:
    with answering({path: answer}) as (url, _), pytest.raises(UnexpectedAnswer, match="the answer is empty"):
        LlamaCpp().first_answer(Wire(), url, None, model(category))


@pytest.mark.parametrize(("status", "refused"), [(401, True), (403, True), (200, False), (500, False)])
def test_only_a_refusal_proves_that_a_key_is_asked_for(status: int, refused: bool) -> None:
    with answering({"/v1/completions": TOKEN}, status) as (url, _):
        assert LlamaCpp().refuses_without_key(Wire(), url, model("chat")) is refused


@pytest.mark.parametrize(
    ("engine", "wanted", "words"),
    [
        (
            Ollama(),
            ("rr", Format.OLLAMA, "reranker"),
            "the category of rr is reranker.*Choose an engine that serves it: `--engine llamacpp`",
        ),
        (LlamaCpp(), ("pictures", Format.GGUF, "image"), "serves the categories chat, embedding, reranker.*No engine serves it"),
        (Vllm(), ("film", Format.SAFETENSORS, "video"), "No engine serves it"),
    ],
)
def test_a_category_that_an_engine_does_not_serve_is_refused(
    engine: Engine, wanted: tuple[object, Format, str], words: str
) -> None:
    with pytest.raises(CategoryMismatch, match=words):
        require_served(engine, [wanted])


def test_each_category_has_its_switch() -> None:
    from modelshelf.digest import Digest
    from modelshelf.formats.image import PackedFile
    from modelshelf.formats.kinds import Role
    from modelshelf.names import FilePath

    file = PackedFile(FilePath("m.gguf"), Role.WEIGHT, Digest.of(b""), 0)
    for category, switch in (("chat", None), ("embedding", "--embeddings"), ("reranker", "--reranking")):
        at = Surroundings((PurePosixPath("/m"),), PurePosixPath("/own"), "127.0.0.1", 1)
        arguments = LlamaCpp().command([Model(ServedName("m"), category, Format.GGUF, (file,))], at, []).arguments
        assert [word for word in arguments if word in ("--embeddings", "--reranking")] == ([switch] if switch else [])


@pytest.mark.parametrize("names", [("Small", "small"), ("small", "small:latest"), ("me/bot:V1", "Me/bot:v1"), ("library/a", "a")])
def test_names_that_ollama_takes_for_one_are_refused(names: Sequence[str]) -> None:
    with pytest.raises(BadName, match="case and `:latest` make no difference"):
        Ollama().require_names([ServedName(name) for name in names])


def test_names_that_differ_are_served_side_by_side() -> None:
    Ollama().require_names([ServedName(name) for name in ("small", "small:v2", "me/small", "example.org/me/small")])
