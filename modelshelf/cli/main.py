"""The command's root: what there is, and how an error leaves it."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import NoReturn

import click

from modelshelf import __version__
from modelshelf.errors import ModelshelfError, Unavailable

EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_INTERRUPTED = 1, 3, 130


_MODULES = {
    "server": ("up", "down", "status", "deploy"),
    "models": ("import", "register", "list", "show", "cache", "delete"),
    "versions": ("save", "build", "alias", "disable", "enable", "diff", "explain"),
    "templates": ("template",),
    "instances": ("launch", "instances", "logs", "stop", "restart", "switch"),
    "upkeep": ("nodes", "evict", "clean", "audit", "disk"),
    "runs": ("runs", "follow", "cancel", "retry"),
    "login": ("login",),
}
"""Which module of this package has which commands, in the order of the help."""


class _Commands(click.Group):
    """Loads a command's module when it is called: a command that reads is over in less time than the others take to load."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*(name for names in _MODULES.values() for name in names), *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module, names in _MODULES.items():
            if cmd_name in names:
                commands: tuple[click.Command, ...] = import_module(f"modelshelf.cli.{module}").COMMANDS
                return next(command for command in commands if command.name == cmd_name)
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="modelshelf")
def cli() -> None:
    """An inference model library: bring a model in once, keep it true to the byte, serve it anywhere.

    \b
    modelshelf import ollama://qwen3:0.6b     bring a model in
    modelshelf list                           what there is
    modelshelf launch qwen3:0.6b              serve it, and print where
    modelshelf stop qwen3                     end that

    The first command that changes something starts a Prefect server and a runner in the background and says so;
    `modelshelf down` stops them. Exit status: 0 done, 1 refused, 2 wrong usage, 3 not available now, 130 interrupted.
    """


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Example: modelshelf completion bash > ~/.local/share/bash-completion/completions/modelshelf
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "modelshelf", "_MODELSHELF_COMPLETE").source())


def main() -> NoReturn:
    """Run the command; an error of ours is its message, not a traceback."""
    try:
        cli.main(standalone_mode=False)
    except ModelshelfError as error:
        click.echo(f"{click.style('Not done:', fg='red', bold=True)} {error}", err=True)
        sys.exit(EXIT_UNAVAILABLE if isinstance(error, Unavailable) else EXIT_REFUSED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0)
