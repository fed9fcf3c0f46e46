"""The command's root: what there is, and how an error leaves it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from importlib import import_module
from typing import NoReturn

import click

from modelshelf import __version__

_MODULES = {
    "server": ("up", "down", "status", "deploy"),
    "models": ("import", "register", "list", "show", "cache", "delete"),
    "versions": ("save", "build", "alias", "category", "disable", "enable", "unpin", "no-auto", "diff", "explain"),
    "templates": ("template",),
    "talk": ("run",),
    "instances": ("launch", "instances", "ps", "models", "logs", "stop", "restart", "switch"),
    "history": ("history",),
    "upkeep": ("nodes", "evict", "clean", "audit", "disk"),
    "runs": ("runs", "follow", "cancel", "retry"),
    "login": ("login", "logins", "logout"),
}
"""Which module of this package has which commands."""

_GROUPS = {
    "Import": ("import", "register", "save", "login", "logins", "logout"),
    "Inspect": ("list", "show", "history", "diff", "explain", "disk"),
    "Serve": ("launch", "run", "instances", "ps", "models", "logs", "stop", "restart", "switch", "template"),
    "Name": ("alias", "category", "disable", "enable", "build"),
    "Keep": ("cache", "unpin", "no-auto", "evict", "nodes", "clean", "delete", "audit"),
    "Operate": ("up", "down", "status", "deploy", "runs", "follow", "cancel", "retry", "completion"),
}
"""The commands by what people do, in the order of the help."""


_COMMAND = re.compile(r"`[^`]+`")
_BLANK, _DASH = "\N{NO-BREAK SPACE}", "\N{NON-BREAKING HYPHEN}"


class _Formatter(click.HelpFormatter):
    """Wraps help without breaking what stands in backticks: a command is copied whole."""

    def write(self, string: str) -> None:
        super().write(string.replace(_BLANK, " ").replace(_DASH, "-"))

    def write_text(self, text: str) -> None:
        super().write_text(_unbroken(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        super().write_dl([(name, _unbroken(text)) for name, text in rows], col_max, col_spacing)


def _unbroken(text: str) -> str:
    return _COMMAND.sub(lambda found: re.sub(r"\s+", _BLANK, found[0]).replace("-", _DASH), text)


click.Context.formatter_class = _Formatter


class _Commands(click.Group):
    """Loads a command's module when it is called: a command that reads is over in less time than the others take to load."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        known = [*(name for names in _MODULES.values() for name in names), *super().list_commands(ctx)]
        ordered = [name for names in _GROUPS.values() for name in names]
        return sorted(known, key=lambda name: ordered.index(name) if name in ordered else len(ordered))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        known = {name: command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name)) is not None}
        widest = max(map(len, known))
        for group, names in _GROUPS.items():
            with formatter.section(group):
                rows = [(name, known[name].get_short_help_str(formatter.width - widest - 6)) for name in names if name in known]
                formatter.write_dl([(name.ljust(widest), text) for name, text in rows])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module, names in _MODULES.items():
            if cmd_name in names:
                commands: tuple[click.Command, ...] = import_module(f"modelshelf.cli.{module}").COMMANDS
                return next(command for command in commands if command.name == cmd_name)
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(__version__, prog_name="modelshelf")
def cli() -> None:
    """An inference model library: import a model once, keep it byte for byte, serve it with the engine that fits.

    \b
    modelshelf import ollama://qwen3:0.6b     import a model
    modelshelf list                           list the library
    modelshelf launch qwen3:0.6b              serve it, and print the address
    modelshelf stop qwen3                     stop serving it

    The first command that changes something starts a Prefect server and a worker in the background;
    `modelshelf down` stops them.

    Exit status: 0 done, 1 refused, 2 wrong usage, 3 not available now, 70 a fault in modelshelf, 130 interrupted.
    """


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Example: modelshelf completion bash > ~/.local/share/bash-completion/completions/modelshelf
    """
    from modelshelf.cli import completion as shells

    click.echo(shells.script(cli, shell))


def main() -> NoReturn:
    """Run the command that was typed, and end with its exit status."""
    from modelshelf.cli import ending

    sys.exit(ending.run(cli, sys.argv[1:]))
