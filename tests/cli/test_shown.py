"""What a person sees: tables in a narrow terminal, sizes, colours, help, and errors for programs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import click.testing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelshelf.cli import tables
from modelshelf.cli.main import _GROUPS, cli
from modelshelf.words import read_bytes, said_bytes

COLUMNS = ("MODEL", "STATE", "SOURCE", "SINCE")
ROWS = [
    ("qwen3:0.6b-7df6b6e0", "ready, disabled", "ollama://registry.example/library/qwen3:0.6b", "3 days ago"),
    ("tiny:main-1a2b3c4d", "failed", "hf://someone/tiny", "12 s ago"),
]


def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int, spare: tuple[str, ...]) -> str:
    monkeypatch.setenv("COLUMNS", str(width))
    tables.show(COLUMNS, ROWS, empty="nothing", spare=spare)
    return capsys.readouterr().out


def test_a_table_that_fits_shows_every_column(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    printed = shown(monkeypatch, capsys, 120, ("SINCE", "SOURCE"))
    assert all(column in printed for column in COLUMNS)
    assert all(cell in printed for row in ROWS for cell in row)


def test_a_narrow_terminal_loses_the_least_important_columns_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = shown(monkeypatch, capsys, 85, ("SINCE", "SOURCE"))
    assert "SINCE" not in printed
    assert "ollama://registry.example/library/qwen3:0.6b" in printed
    printed = shown(monkeypatch, capsys, 50, ("SINCE", "SOURCE"))
    assert "SOURCE" not in printed
    assert "ready, disabled" in printed


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100])
def test_no_width_breaks_a_word(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int) -> None:
    printed = shown(monkeypatch, capsys, width, ("SINCE",))
    for word in ("qwen3:0.6b-7df6b6e0", "disabled", "ollama://registry.example/library/qwen3:0.6b", "hf://someone/tiny"):
        assert word in printed


def test_no_color_holds_for_tables_facts_and_errors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich would take this for a terminal with colours
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_args: False)
    tables.show(COLUMNS, ROWS, empty="")
    tables.show_facts([("model", "x")])
    click.echo(tables.styled("Not done:", fg="red", bold=True))
    assert "\x1b" not in capsys.readouterr().out


def test_text_of_publishers_moves_no_cursor_and_hides_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "a\x1b[2Jb\rc\u202ed\x9be"
    tables.show(("LICENCE",), [(hostile,)], empty="")
    tables.show_facts([("licence", f"first line\n{hostile}")])
    printed = capsys.readouterr().out
    assert not {"\x1b", "\r", "\u202e", "\x9b"} & set(printed)
    assert printed.count(r"a\x1b[2Jb\x0dc\u202ed\x9be") == 2, "what was there is shown, as text"
    assert "first line\n" in printed


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20GB", 20 * 10**9),
        ("1.5 TB", 1_500 * 10**9),
        ("512MiB", 512 << 20),
        ("4gib", 4 << 30),
        ("100", 100),
        ("100B", 100),
        ("0", 0),
        ("7k", 7000),
    ],
)
def test_a_size_is_taken_as_people_write_it(text: str, size: int) -> None:
    assert read_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1", "1e9", "20 apples", "1,000", "٣GB", "1.GB", "20GBs"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        read_bytes(text)


@given(st.integers(0, 10**17))
def test_a_size_that_was_printed_is_read_again_to_its_last_printed_digit(size: int) -> None:
    printed = said_bytes(size)
    unit = read_bytes(f"1{printed.split()[1]}")
    assert abs(read_bytes(printed) - size) <= 0.05 * unit + 1


def test_the_help_groups_every_command_and_fits_80_columns() -> None:
    listed = [name for names in _GROUPS.values() for name in names]
    with click.Context(cli) as context:
        assert set(cli.list_commands(context)) <= set(listed)
    assert len(listed) == len(set(listed))
    printed = click.testing.CliRunner().invoke(cli, ["--help"], terminal_width=78).output
    assert [group for group in _GROUPS if f"\n{group}:" in printed] == list(_GROUPS)
    assert max(map(len, printed.splitlines())) <= 80
    assert [line for line in printed.splitlines() if line.startswith("  ") and line.endswith("...")] == []


@pytest.mark.parametrize("width", [78, 98, 118])
def test_no_help_breaks_a_command(width: int) -> None:
    with click.Context(cli) as context:
        names = cli.list_commands(context)
    for name in names:
        printed = click.testing.CliRunner().invoke(cli, [name, "--help"], terminal_width=width).output
        assert "\xa0" not in printed
        assert "\u2011" not in printed
        for quoted in re.findall(r"`([^`]*)`", printed):
            assert "\n" not in quoted, (name, quoted)


@pytest.mark.parametrize("width", [30, 60, 80, 100])
def test_no_table_breaks_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    command = "modelshelf import ollama://registry.example/library/qwen3:0.6b --name qwen3 --project team"
    tables.show(("DIFFERENCE", "REPAIR"), [("blob gone", f"import it again: {command}")], empty="")
    assert command in capsys.readouterr().out


def run(home: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from modelshelf.cli import main; main()", *arguments],
        env={"PATH": os.environ["PATH"], "MODELSHELF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("arguments", "kind", "status"),
    [
        (["show", "x", "--json"], "NoSuchModel", 1),
        (["nodes", "--budget", "1GB", "--json"], "CatalogNotMade", 1),
        (["list", "--json", "--limit", "many"], "BadParameter", 2),
        (["show", "--json"], "MissingParameter", 2),
    ],
)
def test_with_json_an_error_is_an_object_on_standard_output(tmp_path: Path, arguments: list[str], kind: str, status: int) -> None:
    ended = run(tmp_path / "none", *arguments)
    error = json.loads(ended.stdout)
    assert (error["error"], error["exit_status"], ended.returncode) == (kind, status, status)
    assert error["message"]
    assert ended.stderr == ""


def test_without_json_an_error_is_a_sentence_on_standard_error(tmp_path: Path) -> None:
    ended = run(tmp_path / "none", "show", "x")
    assert ended.stdout == ""
    assert re.match(r"Not done: Project default can see no x\. .*`modelshelf import ollama://qwen3:0\.6b`\.\n$", ended.stderr)
    assert ended.returncode == 1
