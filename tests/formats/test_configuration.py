"""What `show` says of safetensors: their headers tell parameters and precision, the configuration beside them the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelshelf.formats.configuration import complete
from modelshelf.formats.kinds import Facts
from modelshelf.library import building
from modelshelf.library.opening import Library
from modelshelf.names import FilePath
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri
from tests.making import P, bring_in, safetensors, write

LLAMA = {"model_type": "llama", "max_position_embeddings": 8192}


def told(files: dict[str, object], facts: Facts = Facts()) -> Facts:  # noqa: B008 - a frozen value
    content = {FilePath(name): said if isinstance(said, bytes) else json.dumps(said).encode() for name, said in files.items()}
    return complete(facts, content.keys(), content.__getitem__)


@pytest.mark.parametrize(
    ("files", "facts"),
    [
        ({"config.json": LLAMA}, Facts("llama", context_length=8192)),
        ({"config.json": {"model_type": "gemma3", "text_config": {"max_position_embeddings": 131072}}}, Facts("gemma3", context_length=131072)),
        ({"config.json": {"model_type": "gpt2", "n_positions": 1024}}, Facts("gpt2", context_length=1024)),
        ({"tokenizer_config.json": {"chat_template": "{{ x }}"}}, Facts(chat_template=True)),
        ({"chat_template.jinja": b"{{ x }}"}, Facts(chat_template=True)),
        ({"sub/config.json": LLAMA}, Facts()),
        ({"config.json": b"not json"}, Facts()),
        ({"config.json": [1]}, Facts()),
        ({"config.json": {"model_type": 5, "max_position_embeddings": "many", "text_config": 1}}, Facts()),
        ({"config.json": {"model_type": "bad\n", "max_position_embeddings": -1}}, Facts()),
        ({}, Facts()),
    ],
)  # fmt: skip
def test_what_is_said_is_told_and_what_is_not_is_unknown(files: dict[str, object], facts: Facts) -> None:
    assert told(files) == facts


def test_a_header_is_believed_before_the_configuration() -> None:
    assert told({"config.json": LLAMA}, Facts("mine", context_length=7)) == Facts("mine", context_length=7)


def test_an_import_tells_it_and_the_image_stays_what_its_files_make(library: Library, tmp_path: Path) -> None:
    write(tmp_path / "m" / "model.safetensors", safetensors())
    write(tmp_path / "m" / "config.json", json.dumps(LLAMA).encode())
    version, _ = bring_in(library, FolderSource(FolderUri(tmp_path / "m")))
    assert (version.facts.architecture, version.facts.context_length, version.facts.precision) == ("llama", 8192, "U8")
    assert building.rebuild(library, P, version.ref).digest == version.image
