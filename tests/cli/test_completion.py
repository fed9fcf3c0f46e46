"""Completion as the shells ask for it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelshelf.catalog import templates, versions
from modelshelf.cli.main import cli
from modelshelf.library.opening import Library
from modelshelf.names import ServedName, TemplateName
from tests.making import P, bring_in, gguf, ollama_source, record_instance
from tests.stand_ins.ollama_registry import OllamaRegistry


@pytest.fixture
def shelf(library: Library, registry: OllamaRegistry) -> Library:
    """A model with two tags, an instance, a template."""
    for seed, tag in ((1, "0.6b"), (2, "8b")):
        registry.add_model("library/qwen3", tag, gguf(seed=seed))
        version, _ = bring_in(library, ollama_source(registry, f"library/qwen3:{tag}"), run=f"run-{tag}")
    with library.catalog.writing() as connection:
        record_instance(connection, library.node_id, version, "chat-1")
        serving = [(version, ServedName("m"))]
        templates.write(connection, P, TemplateName("both"), engine="llamacpp", settings={}, serving=serving, who="test")
    return library


def typed(library: Library, line: str) -> list[str]:
    """What bash offers when Tab is pressed after `line`, with the script that the command prints."""
    bin_folder = library.settings.home / "bin"
    bin_folder.mkdir(exist_ok=True)
    program = bin_folder / "modelshelf"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from modelshelf.cli import main; main()" "$@"\n')
    program.chmod(0o755)
    script = CliRunner().invoke(cli, ["completion", "bash"], catch_exceptions=False).output
    asked = f"""{script}
COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}
_modelshelf_completion {program}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "MODELSHELF_HOME": str(library.settings.home)}
    environment["COMP_WORDBREAKS"] = " \t\n\"'><=;|&(:"
    ended = subprocess.run(
        ["bash", "--norc", "-c", asked], env=environment, capture_output=True, text=True, check=True, cwd=Path.cwd(), timeout=60
    )
    return ended.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not on this machine")
def test_bash_completes_models_instances_templates_and_commands(shelf: Library) -> None:
    with shelf.catalog.reading() as connection:
        names = sorted(str(one.name) for one in versions.page(connection, P))
    assert typed(shelf, "modelshelf sho") == ["show"]
    assert typed(shelf, "modelshelf show q") == [f"qwen3:{tag}" for tag in sorted([*names, "0.6b", "8b"])]
    assert typed(shelf, "modelshelf show qwen3:0") == sorted(["0.6b", names[0]]), "readline keeps what is before the colon"
    assert typed(shelf, "modelshelf stop ") == ["chat-1"]
    assert typed(shelf, "modelshelf template delete b") == ["both"]
    assert typed(shelf, "modelshelf launch --template ") == ["both"]
    assert typed(shelf, "modelshelf switch chat-1 qwen3:8b") == sorted(["8b", names[1]])


def test_completion_without_a_library_offers_nothing_and_says_nothing(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "MODELSHELF_HOME": str(tmp_path / "none"), "_MODELSHELF_COMPLETE": "zsh_complete"}
    for words in ("modelshelf show ", "modelshelf follow "):
        ended = subprocess.run(
            [sys.executable, "-c", "from modelshelf.cli import main; main()"],
            env={**environment, "COMP_WORDS": words, "COMP_CWORD": "2"},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert (ended.stdout.strip(), ended.stderr) == ("", "")
