"""Where nothing was ever made, a newcomer is told so with the first command to type; nothing is made or started for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from modelshelf.cli import ending
from modelshelf.cli.errors import NoSuchRun
from modelshelf.cli.main import cli
from modelshelf.errors import CatalogNotMade, NoSuchInstance, NoSuchModel
from modelshelf.settings import default_catalog, load_settings

LISTS: dict[str, object] = {
    "list": [], "ps": [], "instances": [], "nodes": [], "disk": {}, "template list": [], "runs": [], "logins": [],
}  # fmt: skip
NAMED = {
    "show tiny": NoSuchModel, "diff tiny:1 tiny:2": NoSuchModel, "explain tiny": NoSuchModel, "alias tiny": NoSuchModel,
    "run tiny hello": NoSuchModel, "logs chat": NoSuchInstance, "models chat": NoSuchInstance, "follow 1a2b": NoSuchRun,
    "cancel 1a2b": NoSuchRun, "retry 1a2b": NoSuchRun,
}  # fmt: skip


@pytest.fixture(params=["missing", "empty", "with a configuration"])
def nowhere(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "home"
    monkeypatch.setenv("MODELSHELF_HOME", str(home))
    if request.param != "missing":
        home.mkdir(mode=0o700)
    if request.param == "with a configuration":
        (home / "config.toml").write_text('region = "eu-1"\n')
    return home


def _entries(home: Path) -> list[str] | None:
    return sorted(path.name for path in home.iterdir()) if home.exists() else None


def typed(command: str) -> Result:
    return CliRunner().invoke(cli, command.split())


@pytest.mark.parametrize("command", LISTS)
def test_a_list_of_nothing_names_the_first_command_and_makes_nothing(nowhere: Path, command: str) -> None:
    before = _entries(nowhere)
    shown, as_json = typed(command), typed(f"{command} --json")
    assert (shown.exit_code, as_json.exit_code) == (0, 0), (shown.exception, as_json.exception)
    assert shown.stdout.startswith("Nothing here yet. ")
    assert ": modelshelf " in shown.stdout
    assert json.loads(as_json.stdout) == LISTS[command]
    assert _entries(nowhere) == before


@pytest.mark.parametrize("command", NAMED)
def test_what_does_not_exist_yet_is_named_and_nothing_is_made(nowhere: Path, command: str) -> None:
    before = _entries(nowhere)
    refused = typed(command)
    assert type(refused.exception) is NAMED[command]
    assert _entries(nowhere) == before


def test_a_model_that_does_not_exist_yet_comes_with_the_command_that_imports_one(nowhere: Path) -> None:
    message = str(typed("show tiny").exception)
    assert message.startswith("Project default can see no tiny.")
    assert "`modelshelf import ollama://qwen3:0.6b`" in message


def test_the_status_of_nothing_names_the_first_command(nowhere: Path) -> None:
    before = _entries(nowhere)
    shown, as_json = typed("status"), typed("status --json")
    assert (shown.exit_code, as_json.exit_code) == (0, 0)
    assert "Nothing here yet. Import a model: modelshelf import ollama://qwen3:0.6b" in shown.stdout
    assert json.loads(as_json.stdout)["server"] == "down"
    assert _entries(nowhere) == before


@pytest.mark.parametrize("command", ["down", "down --instances"])
def test_down_stops_nothing_and_makes_nothing(nowhere: Path, command: str) -> None:
    before = _entries(nowhere)
    assert typed(command).output == "Nothing was running.\n"
    assert _entries(nowhere) == before


@pytest.mark.parametrize("folder", ["store", "node"])
def test_a_home_that_lost_its_catalog_is_not_called_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    (tmp_path / folder).mkdir()
    monkeypatch.setenv("MODELSHELF_HOME", str(tmp_path))
    assert isinstance(typed("list").exception, CatalogNotMade)


def test_a_catalog_that_someone_named_is_not_called_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSHELF_HOME", str(tmp_path))
    monkeypatch.setenv("MODELSHELF_CATALOG_URL", default_catalog(tmp_path / "elsewhere"))
    assert load_settings().catalog_url != default_catalog(tmp_path)
    assert isinstance(typed("list").exception, CatalogNotMade)


def test_every_reading_command_answers_on_a_new_home(nowhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A command whose help promises that no server is needed never ends with a catalog that is not there."""
    context = click.Context(cli)
    reading: list[Any] = [name for name in cli.list_commands(context) if "eeds no server" in str(_help(context, name))]
    assert len(reading) >= 9
    for name in reading:
        wanted = {"show": ["x"], "diff": ["x", "y"], "explain": ["x"], "models": ["x"], "logs": ["x"]}.get(name, [])
        ending.run(cli, [name, *wanted])
        printed = capsys.readouterr()
        assert "catalog at" not in printed.out + printed.err, name


def _help(context: click.Context, name: str) -> str | None:
    command = cli.get_command(context, name)
    return command.help if command is not None else None
