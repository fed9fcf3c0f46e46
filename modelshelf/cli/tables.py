"""How rows are shown to people: as wide as the terminal, with no word broken and no colour where none is wanted.

Text of publishers and engines is made plain here: it moves no cursor and hides nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from modelshelf.words import plain, plain_lines

if TYPE_CHECKING:
    from rich.console import Console

_GAP = 2
"""Blanks between two columns."""
_COMMAND = "modelshelf "
"""What a cell with a command holds. It is never folded: a command is copied whole."""
_PIPE_WIDTH = 200
"""Letters in a line where no terminal gives a width: a file, a pipe."""


def show(columns: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str, spare: Sequence[str] = ()) -> None:
    """Print a table, or the line `empty` if it has no rows.

    Where the terminal is too narrow, the columns named in `spare` are left out, the first named first. If words would
    still have to be broken, each row becomes a paragraph of facts.
    """
    if not rows:
        click.echo(empty)
        return
    rows = [[plain(cell) for cell in row] for row in rows]
    screen = console()
    widths = _widths(columns, rows, spare, screen.width)
    if widths is None:
        for number, row in enumerate(rows):
            if number:
                click.echo()
            show_facts([(column.lower(), cell) for column, cell in zip(columns, row, strict=True)])
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False)
    for number, width in widths.items():
        table.add_column(columns[number], overflow="fold", width=width)
    for row in rows:
        table.add_row(*(row[number] for number in widths))
    screen.print(table)


def show_facts(facts: Sequence[tuple[str, object]]) -> None:
    """Print one fact a line; unknown ones are left out."""
    known = [(name, plain_lines(value)) for name, value in facts if value not in (None, "", ())]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        click.echo(f"{styled(name.ljust(width), bold=True)}  {value}")


def show_json(value: Any) -> None:
    """Print a value of ours, in the one form that its kind has."""
    from modelshelf.json_form import as_json

    click.echo(json.dumps(as_json(value), indent=2))


def styled(text: str, **style: Any) -> str:
    """Return the text in that style; plain where `NO_COLOR` is set (no-color.org)."""
    return text if os.environ.get("NO_COLOR") else click.style(text, **style)


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return where tables and progress are printed."""
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR"))
    screen = Console(stderr=stderr, quiet=quiet, highlight=False, markup=False, color_system=None if plain else "auto")
    if not screen.is_terminal and "COLUMNS" not in os.environ:
        screen.width = _PIPE_WIDTH
    return screen


def _widths(columns: Sequence[str], rows: Sequence[Sequence[str]], spare: Sequence[str], width: int) -> dict[int, int] | None:
    """Return the width of each column that is shown, by its number; None if a word would be broken.

    Cells are folded at blanks, the widest column first, only where all spare columns are gone.
    """
    cells = [[column, *(row[number] for row in rows)] for number, column in enumerate(columns)]
    wanted = {number: max(map(len, texts)) for number, texts in enumerate(cells)}
    for name in spare:
        if _total(wanted) <= width:
            return wanted
        del wanted[columns.index(name)]
    least = {number: max(len(word) for text in cells[number] for word in text.split() or [""]) for number in wanted}
    least |= {number: wanted[number] for number in wanted if any(_COMMAND in text for text in cells[number])}
    least[0] = wanted[0]
    while _total(wanted) > width:
        loose = [number for number in wanted if wanted[number] > least[number]]
        if not loose:
            return None
        wanted[max(loose, key=lambda number: wanted[number])] -= 1
    return wanted


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + _GAP * (len(widths) - 1)
