"""Every command that a page, a help text or a message prints is one that can be typed."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from modelshelf.cli.main import cli

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SOURCES = sorted(
    path for folder in ("modelshelf", "flows", "tasks", "blocks", "deployments") for path in (ROOT / folder).glob("**/*.py")
)
PLACES = {
    "category": "embedding", "what": "qwen3:0.6b", "model": "qwen3", "alias": "stable", "instance": "chat-1", "template": "both", "host": "hub.example",
    "login": "huggingface", "project": "default", "filesystem": "shared", "found": "qwen3:0.6b", "run": "3f2a91c0",
    "source": "ollama://qwen3:0.6b", "more": "4GB",
}  # fmt: skip
"""What the fields of a message hold, for the commands that it prints."""


with click.Context(cli) as _context:
    VERBS = "|".join(map(re.escape, cli.list_commands(_context)))


def commands(text: str) -> Iterator[str]:
    """The commands in backticks, at the end of a string, and in the lines of shell blocks."""
    for quoted in re.findall(r"`(modelshelf [^`\n]*(?:\n[^`\n]*)?)`", text):
        yield " ".join(quoted.split())
    for quoted in re.findall(rf": (modelshelf (?:{VERBS})\b[^`\"'\n]*)\"", text):
        yield quoted
    for line in text.splitlines():
        if re.match(rf" *modelshelf (?:{VERBS})\b", line):
            yield line.strip()


def printed() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        yield from ((page.name, command) for command in commands(page.read_text()))
    for source in SOURCES:
        yield from ((str(source.relative_to(ROOT)), command) for command in commands(source.read_text()))


def typed(command: str) -> list[str]:
    """The words after the program, fields and code replaced by what they stand for."""
    command = command.partition(" # ")[0].replace("://…", ":///x").replace("…", "x")
    command = re.split(r"\s{2,}(?=[a-zA-Z])|\s[|>]\s", command)[0]  # a remark beside an example, a pipe
    command = re.sub(r"\{(?:\w+\.)*(\w+)[^}]*\}", lambda field: PLACES.get(field[1], "x"), command).replace("%s", "x")
    return [PLACES.get(word.lower(), word.lower()) if word.isupper() else word for word in shlex.split(command)[1:]]


@pytest.mark.parametrize(("where", "command"), sorted(set(printed())))
def test_a_command_that_is_printed_can_be_typed(where: str, command: str) -> None:
    words = typed(command)
    group: click.Group = cli
    context = click.Context(cli, info_name="modelshelf")
    while True:
        name, *words = words
        found = group.get_command(context, name)
        assert found is not None, f"{where}: there is no command {name!r}"
        if not isinstance(found, click.Group) or not words:
            break
        group = found
    with contextlib.suppress(click.MissingParameter, click.exceptions.Exit):  # an argument left to the reader; `--help`
        found.make_context(str(found.name), list(words))
