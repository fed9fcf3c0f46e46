"""Finding and starting the server: what is refused before anything starts, and settings that are wrong."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from modelshelf.cli import launcher
from modelshelf.cli.errors import NoServer
from modelshelf.cli.main import cli
from modelshelf.cli.state_file import Running
from modelshelf.errors import BadSetting, CatalogUnknown
from modelshelf.settings import Settings, default_catalog, load_settings


def ignore(_line: str) -> None:
    """What is said while starting is not asked about here."""


def test_a_remote_prefect_without_a_catalog_of_its_own_is_refused(tmp_path: Path) -> None:
    settings = Settings(tmp_path / "home", default_catalog(tmp_path / "home"))
    with pytest.raises(CatalogUnknown, match="MODELSHELF_CATALOG_URL"):
        launcher.ensure(settings, ignore, remote="http://127.0.0.1:9")


@pytest.mark.parametrize("command", [["runs"], ["follow", "x"], ["cancel", "x"], ["retry", "x"]])
def test_asking_what_runs_starts_no_server_and_says_how_to(home: Settings, command: list[str]) -> None:
    result = CliRunner().invoke(cli, command)
    assert isinstance(result.exception, NoServer)
    assert "modelshelf up" in str(result.exception)


@pytest.mark.parametrize("config", ["what = 1", "workers = true", "region = 5", "not toml", "catalog_url = []"])
def test_a_wrong_setting_is_told(home: Settings, config: str) -> None:
    home.config_file.write_text(config)
    with pytest.raises(BadSetting, match=r"config\.toml"):
        load_settings()


def test_every_command_has_help_and_the_ones_that_act_have_examples_or_options() -> None:
    context = click.Context(cli)
    names = cli.list_commands(context)
    assert len(names) > 30
    for name in names:
        command = cli.get_command(context, name)
        assert command is not None
        assert command.help, name
        shown = CliRunner().invoke(cli, [name, "--help"])
        assert shown.exit_code == 0, name
        for one in command.params:
            assert not isinstance(one, click.Option) or one.help, f"{name}: {one.name} has no help"
        acts = any(one.name in ("dry_run", "no_wait") for one in command.params)
        assert not acts or "Example" in command.help, f"{name} has no example"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(shell: str) -> None:
    assert "_MODELSHELF_COMPLETE" in CliRunner().invoke(cli, ["completion", shell]).output


def test_the_state_file_of_a_dead_server_is_no_server(home: Settings) -> None:
    from modelshelf.nodes.processes import Process

    dead = Process(2**22 - 1, 1, "another boot")
    Running("http://127.0.0.1:9", dead, dead).write(home)
    assert launcher.find(home) is None
