"""How rows are shown to people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import click


def show(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """A table as wide as its words; one line when there is nothing."""
    if not rows:
        click.echo(empty)
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        table.add_row(*row)
    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200  # a file or a pipe has no edge
    console.print(table)


def show_facts(facts: Sequence[tuple[str, object]]) -> None:
    """One fact a line, those that are unknown left out."""
    known = [(name, str(value)) for name, value in facts if value not in (None, "", ())]
    width = max(len(name) for name, _ in known)
    for name, value in known:
        click.echo(f"{click.style(name.ljust(width), bold=True)}  {value}")


def show_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, default=str))
