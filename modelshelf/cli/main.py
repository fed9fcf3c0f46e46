"""The command's root: what there is, and how an error leaves it."""

from __future__ import annotations

import sys
from typing import NoReturn

import click

from modelshelf import __version__
from modelshelf.cli import instances, login, models, runs, server
from modelshelf.errors import ModelshelfError, Unavailable

EXIT_REFUSED, EXIT_UNAVAILABLE, EXIT_INTERRUPTED = 1, 3, 130


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
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


for group in (server, models, instances, runs, login):
    for command in group.COMMANDS:
        cli.add_command(command)


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
