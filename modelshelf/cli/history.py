"""The history of a project: who did what, when."""

from __future__ import annotations

import click

from modelshelf.cli import new_home, options
from modelshelf.names import ModelRef, ProjectName

_MOST = 1000
_IN_WORDS = {"model.category": "category changed"}
"""Events that are not read as `noun verb`."""


@click.command()
@click.argument("model", type=options.parsed(ModelRef.parse, "MODEL"), required=False, shell_complete=options.complete_models)
@click.option("--limit", type=click.IntRange(1, _MOST), default=50, show_default=True, help="How many events to list.")
@options.project
@options.as_json
@new_home.answered(new_home.nothing_yet([]))
def history(model: ModelRef | None, limit: int, project: ProjectName, as_json: bool) -> None:
    """List what happened, newest first: who did what, when. Needs no server.

    With MODEL, only what happened to it: to its versions, aliases and replicas, and to instances that served it.

    \b
    Examples:
      modelshelf history
      modelshelf history qwen3:0.6b --limit 10
    """
    from modelshelf.catalog import journal
    from modelshelf.cli import reading, tables

    with reading.open_catalog().reading() as connection:
        events = journal.history(connection, project, model, limit)
    if as_json:
        tables.show_json(events)
        return
    rows = [
        (reading.ago(one.at), _IN_WORDS.get(one.what, one.what.replace(".", " ")), one.subject, one.detail, one.who)
        for one in events
    ]
    empty = f"Nothing is recorded of {model}." if model is not None else "Nothing has happened yet."
    tables.show(("WHEN", "WHAT", "SUBJECT", "DETAIL", "WHO"), rows, empty=empty, spare=("DETAIL",))


COMMANDS = (history,)
