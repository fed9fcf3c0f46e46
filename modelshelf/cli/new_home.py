"""What reading commands answer where nothing was ever made: that there is nothing yet, and the first command to type.

Nothing is opened, made or started for it.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from modelshelf.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])
Answer = Callable[[dict[str, Any]], None]

FIRST = "Import a model: modelshelf import ollama://qwen3:0.6b"
_MADE = ("catalog.db", "store", "node")
"""What the first command that changes something makes. A home with only some of these lost its catalog: that is no new one."""


def is_new(settings: Settings) -> bool:
    """Return whether nothing was ever made here. A catalog that someone named is not ours to call empty."""
    from modelshelf.settings import default_catalog

    if settings.catalog_url != default_catalog(settings.home):
        return False
    try:
        return not settings.home.exists() or (
            settings.home.is_dir() and not {entry.name for entry in settings.home.iterdir()}.intersection(_MADE)
        )
    except OSError:  # what hinders is reported by whoever opens it
        return False


def answered(answer: Answer, *, unless: str = "") -> Callable[[F], F]:
    """Let `answer` speak in the command's place on a new home. It gets the command's own arguments.

    With the argument `unless`, the command changes something and runs as it always does.
    """

    def around(command: F) -> F:
        @functools.wraps(command)
        def either(**arguments: Any) -> Any:
            from modelshelf.settings import load_settings

            changes = bool(unless) and arguments[unless] is not None
            return answer(arguments) if not changes and is_new(load_settings()) else command(**arguments)

        return either  # type: ignore[return-value]

    return around


def nothing_yet(json_value: object, first: str = FIRST) -> Answer:
    """Return the answer of a command that lists: `json_value` with `--json`."""

    def answer(arguments: dict[str, Any]) -> None:
        click.echo(json.dumps(json_value) if arguments.get("as_json") else f"Nothing here yet. {first}")

    return answer


def no_model(name: str) -> Answer:
    """Return the answer of a command whose argument of that name is a model."""

    def answer(arguments: dict[str, Any]) -> NoReturn:
        from modelshelf.errors import NoSuchModel

        raise NoSuchModel(project=arguments["project"], what=arguments[name])

    return answer


def no_instance(name: str) -> Answer:
    """Return the answer of a command whose argument of that name is an instance."""

    def answer(arguments: dict[str, Any]) -> NoReturn:
        from modelshelf.errors import NoSuchInstance

        raise NoSuchInstance(project=arguments["project"], instance=arguments[name])

    return answer


def no_run(arguments: dict[str, Any]) -> NoReturn:
    """Answer for a command whose argument is a run."""
    from modelshelf.cli.errors import NoSuchRun

    raise NoSuchRun(run=arguments["run"])
