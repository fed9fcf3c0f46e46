"""What llama.cpp is started with: the model and its parts, sizes that are said always, and an Ollama version's parameters."""

from __future__ import annotations

import json
from pathlib import PurePosixPath

import pytest

from modelshelf.digest import Digest
from modelshelf.engines.contract import Command, Model, Surroundings
from modelshelf.engines.llamacpp import LlamaCpp
from modelshelf.engines.ollama_layers import MANIFEST, blob_path
from modelshelf.formats.image import PackedFile
from modelshelf.formats.kinds import Format, Role
from modelshelf.formats.parts import Parts
from modelshelf.names import FilePath, ServedName

SERVED = ServedName("m")


REPLICA = PurePosixPath("/replica")
AT = Surroundings((REPLICA,), PurePosixPath("/own"), "127.0.0.1", 8080)


def command(model: Model, *arguments: str, cpus: int = 0) -> Command:
    return LlamaCpp().command([model], AT, arguments, cpus)


def after(made: Command, option: str) -> list[str]:
    """The values of every occurrence of the option, in order."""
    return [value for word, value in zip(made.arguments, made.arguments[1:], strict=False) if word == option]


def gguf(category: str = "chat", parts: Parts | None = None, context: int | None = None) -> Model:
    names = ["m.gguf", "mmproj-m.gguf", "extra/lora.gguf"]
    files = tuple(PackedFile(FilePath(name), Role.WEIGHT, Digest.of(name.encode()), 1) for name in names)
    return Model(SERVED, category, Format.GGUF, files, parts, context)


def ollama(**layers: object) -> Model:
    """A version with a model and these layers; `params` is a JSON value, the others are texts or lists of them."""
    files, listed, contents = [], [], {}
    for kind, value in {"model": "GGUF", **layers}.items():
        for text in value if isinstance(value, list) else [value]:
            content = (json.dumps(text) if kind == "params" else str(text)).encode()
            digest = Digest.of(content)
            role = Role.WEIGHT if kind in ("model", "projector", "adapter") else Role.CONFIG
            if kind == "params":
                contents[blob_path(digest)] = content
            files.append(PackedFile(blob_path(digest), role, digest, len(content)))
            listed.append({"mediaType": f"application/vnd.ollama.image.{kind}", "digest": str(digest), "size": len(content)})
    contents[MANIFEST] = json.dumps({"schemaVersion": 2, "layers": listed}).encode()
    return Model(SERVED, "chat", Format.OLLAMA, tuple(files), contents=contents)


def test_the_parts_that_were_decided_at_import_are_given_by_name() -> None:
    parts = Parts(FilePath("m.gguf"), (FilePath("mmproj-m.gguf"),), (FilePath("extra/lora.gguf"),))
    model = gguf(parts=parts)
    made = command(model)
    assert after(made, "--model") == [str(REPLICA / "m.gguf")]
    assert after(made, "--mmproj") == [str(REPLICA / "mmproj-m.gguf")]
    assert after(made, "--lora") == [str(REPLICA / "extra/lora.gguf")]
    assert LlamaCpp().left_out(model) == ()


def test_what_is_not_given_to_the_server_is_said() -> None:
    projectors = (FilePath("mmproj-m.gguf"), FilePath("mmproj-n.gguf"))
    model = gguf(parts=Parts(FilePath("m.gguf"), projectors, (), (FilePath("draft.gguf"),)))
    made = command(model)
    assert after(made, "--mmproj") == [str(REPLICA / "mmproj-m.gguf")]
    assert LlamaCpp().left_out(model) == (
        "llama.cpp does not apply its projectors after the first.",
        "llama.cpp does not apply its draft model.",
    )


@pytest.mark.parametrize(("context", "given"), [(None, "8192"), (512, "512"), (8192, "8192"), (131_072, "8192")])
def test_context_and_slots_are_said_always(context: int | None, given: str) -> None:
    """The wheel's defaults are 4096 tokens and one slot, a llama-server's the model's whole context and four slots."""
    made = command(gguf(context=context))
    assert (after(made, "--ctx-size"), after(made, "--parallel")) == ([given], ["1"])


@pytest.mark.parametrize(("context", "batch"), [(512, "512"), (8192, "2048")])
@pytest.mark.parametrize("category", ["embedding", "reranker"])
def test_a_text_to_embed_or_to_score_fits_into_one_batch(category: str, context: int, batch: str) -> None:
    assert after(command(gguf(category, context=context)), "--ubatch-size") == [batch]


def test_processors_are_also_the_number_of_threads() -> None:
    assert after(command(gguf(), cpus=3), "--threads") == ["3"]
    assert after(command(gguf()), "--threads") == []


def test_what_is_asked_for_comes_last_and_wins() -> None:
    made = command(gguf(), "--ctx-size", "64", "--threads", "1", cpus=2)
    assert after(made, "--ctx-size")[-1] == "64"
    assert after(made, "--threads")[-1] == "1"


def test_web_pages_of_others_may_not_read_its_answers() -> None:
    assert command(gguf()).environment["LLAMA_ARG_CORS_ORIGINS"] == "localhost"


def test_an_ollama_versions_adapter_projector_and_parameters_are_applied() -> None:
    parameters = {
        "num_ctx": 2048,
        "temperature": 0.6,
        "top_k": 20,
        "top_p": 0.95,
        "seed": 7,
        "repeat_penalty": 1,
        "stop": ["<|end|>", "--"],
    }
    model = ollama(adapter=["one", "two"], projector="eye", params=parameters)
    made = command(model)
    blob = {text: str(REPLICA / "blobs" / f"sha256-{Digest.of(text.encode()).hex}") for text in ("GGUF", "one", "two", "eye")}
    assert after(made, "--model") == [blob["GGUF"]]
    assert after(made, "--lora") == [blob["one"], blob["two"]]
    assert after(made, "--mmproj") == [blob["eye"]]
    assert after(made, "--ctx-size")[-1] == "2048"
    found = {option: after(made, option) for option in ("--temp", "--top-k", "--top-p", "--seed", "--repeat-penalty")}
    assert found == {"--temp": ["0.6"], "--top-k": ["20"], "--top-p": ["0.95"], "--seed": ["7"], "--repeat-penalty": ["1"]}
    assert after(made, "--reverse-prompt") == ["<|end|>", "--"]
    assert LlamaCpp().left_out(model) == ()


def test_what_of_an_ollama_version_cannot_be_applied_is_said() -> None:
    parameters = {"penalize_newline": True, "temperature": "hot", "top_k": True}
    model = ollama(system="Be short.", template="{{ .Prompt }}", messages="[]", params=parameters)
    made = command(model)
    assert LlamaCpp().left_out(model) == (
        "llama.cpp does not apply its prompt template (llama.cpp uses the template in the GGUF, or else a default).",
        "llama.cpp does not apply its system message.",
        "llama.cpp does not apply its example messages.",
        "llama.cpp does not apply its parameter penalize_newline.",
        "llama.cpp does not apply its parameter temperature.",
        "llama.cpp does not apply its parameter top_k.",
    )
    assert not {"--temp", "--top-k"} & set(made.arguments)
