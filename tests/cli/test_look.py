"""`list` and `show`: filters, order, and what a version is now."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelshelf.catalog import versions
from modelshelf.cli.main import cli
from modelshelf.library.opening import Library
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri
from tests.making import P, bring_in, gguf, ollama_source, safetensors, write
from tests.stand_ins.ollama_registry import OllamaRegistry


@pytest.fixture
def shelf(library: Library, registry: OllamaRegistry, tmp_path: Path) -> Iterator[Library]:
    """Three versions: an Ollama model, a small GGUF and a larger safetensors folder, brought in in this order."""
    registry.add_model("library/tiny", "1b", gguf(50_000, seed=1))
    bring_in(library, ollama_source(registry))
    bring_in(library, FolderSource(FolderUri(write(tmp_path / "small.gguf", gguf(60_000, seed=2)))), run="run-2")
    write(tmp_path / "large" / "config.json", b"{}")
    write(tmp_path / "large" / "model.safetensors", safetensors(90_000, seed=3))
    bring_in(library, FolderSource(FolderUri(tmp_path / "large")), run="run-3")
    yield library


def listed(*arguments: str) -> list[str]:
    ended = CliRunner().invoke(cli, ["list", "--json", *arguments], catch_exceptions=False)
    return [version["model"] for version in json.loads(ended.output)]


@pytest.mark.parametrize(
    ("arguments", "models"),
    [
        ((), ["large", "small", "tiny"]),
        (("--sort", "name"), ["large", "small", "tiny"]),
        (("--sort", "size"), ["large", "small", "tiny"]),
        (("--sort", "size", "--limit", "1"), ["large"]),
        (("--format", "ollama"), ["tiny"]),
        (("--type", "gguf"), ["small"]),
        (("--source", "file://"), ["large", "small"]),
        (("--source", "tiny:1b"), ["tiny"]),
        (("--category", "chat", "--state", "ready"), ["large", "small", "tiny"]),
        (("--state", "failed"), []),
        (("ma",), ["small"]),
        (("_",), []),
        (("%",), []),
    ],
)
def test_list_filters_and_sorts(shelf: Library, arguments: tuple[str, ...], models: list[str]) -> None:
    assert listed(*arguments) == models


def test_a_disabled_version_is_listed_and_shown_as_disabled(shelf: Library) -> None:
    with shelf.catalog.writing() as connection:
        versions.mark(connection, P, versions.page(connection, P, matching="tiny")[0], "test", disabled=True)
    assert (listed("--state", "disabled"), listed("--state", "ready")) == (["tiny"], ["large", "small"])
    runner = CliRunner()
    (line,) = [line for line in runner.invoke(cli, ["list"]).output.splitlines() if line.startswith("tiny:")]
    assert "disabled" in line
    assert "disabled" in runner.invoke(cli, ["show", "tiny"]).output


def test_a_filter_that_nothing_matches_is_not_called_an_empty_library(shelf: Library) -> None:
    assert CliRunner().invoke(cli, ["list", "--state", "failed"]).output == "No version matches.\n"
