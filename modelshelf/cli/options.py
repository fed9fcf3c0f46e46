"""Options that many commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from modelshelf.engines.table import ENGINES
from modelshelf.names import ProjectName

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = Callable[..., Any]


class _Parsed(click.ParamType[Any]):
    """Text that is parsed into one of the library's types, its refusal shown as a usage error."""

    def __init__(self, kind: Callable[[str], Any], name: str) -> None:
        self.name = name
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        from modelshelf.errors import Refused

        if not isinstance(value, str):
            return value
        try:
            return self._kind(value)
        except Refused as error:
            self.fail(str(error), param, ctx)


class _Size(click.ParamType[int]):
    """A number of bytes as people write it."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from modelshelf.words import read_bytes

        if isinstance(value, int):
            return value
        try:
            return read_bytes(value)
        except ValueError:
            self.fail(f"{value!r} is not a size: expected a number of bytes, or for example 20GB or 512MiB.", param, ctx)


SIZE = _Size()


def parsed(kind: Callable[[str], Any], name: str) -> click.ParamType[Any]:
    return _Parsed(kind, name)


def source(text: str) -> Any:
    """A source's URI, the address of a model's page, or a path on this machine, which may end with `:Q4_K_M`."""
    import shlex
    from pathlib import Path

    from modelshelf.errors import NoScheme
    from modelshelf.sources.addresses import is_address
    from modelshelf.sources.uri import FolderUri, parse_source

    if "://" in text:
        return parse_source(text)
    path = Path(text).expanduser()
    if path.exists():
        return FolderUri(path.resolve())
    if is_address(text):
        return parse_source(text)
    if text.startswith(("/", "./", "../", "~")) or Path(text.rpartition(":")[0] or text).exists():
        front, colon, part = str(path).rpartition(":")
        return FolderUri.parse(f"{Path(front).resolve()}:{part}" if colon else str(path.resolve()))
    meant = [shlex.quote(uri) for uri in (f"hf://{text}", f"ollama://{text}") if _is_source(uri)]
    if not meant:
        return parse_source(text)
    raise NoScheme(text=text, commands=" or ".join(f"`modelshelf import {source}`" for source in meant))


def _is_source(uri: str) -> bool:
    from modelshelf.errors import BadSource
    from modelshelf.sources.uri import parse_source

    try:
        parse_source(uri)
    except BadSource:
        return False
    return True


def filesystem(text: str) -> Any:
    """A folder of a shared filesystem."""
    from modelshelf.errors import BadSource
    from modelshelf.sources.uri import FilesystemUri, parse_source

    found = parse_source(text)
    if not isinstance(found, FilesystemUri):
        raise BadSource(text=repr(text)[:100], reason="only `fs://filesystem/sub/folder` can be registered")
    return found


project = click.option(
    "--project",
    type=parsed(ProjectName, "NAME"),
    default="default",
    envvar="MODELSHELF_PROJECT",
    show_default=True,
    help="The project to act for.",
)
as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
dry_run = click.option("--dry-run", is_flag=True, help="Print what would be done; change nothing.")
engine = click.option("--engine", type=click.Choice(ENGINES), help="The engine.  [default: an installed one for the format]")
no_wait = click.option("--no-wait", is_flag=True, help="Start the run and return at once.")


def resources(command: F) -> F:
    """What an engine gets: environment, processors, memory."""
    for option in (
        click.option(
            "--memory", type=SIZE, default=-1, metavar="SIZE", help="Memory for all its processes together; 0 removes the limit."
        ),
        click.option("--cpus", default=-1, metavar="N", help="The number of processors; 0 removes the limit."),
        click.option("--env", "environment", multiple=True, metavar="NAME=VALUE", help="Set for the engine; no secrets."),
    ):
        command = option(command)
    return command


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from modelshelf.cli import completion  # only who completes needs it

    return completion.models(ctx, param, incomplete)


def complete_instances(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from modelshelf.cli import completion

    return completion.instances(ctx, param, incomplete)


def complete_templates(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    from modelshelf.cli import completion

    return completion.templates(ctx, param, incomplete)


def complete_runs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[Any]]:
    from modelshelf.cli import completion

    return completion.runs(ctx, param, incomplete)
