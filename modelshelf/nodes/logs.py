"""The log of an engine: one file a start, with the time and the command as its first line."""

from __future__ import annotations

import os
import shlex
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from modelshelf.limits import MiB

_MARK = "# started "
_LINE_BYTES, _BLOCK_BYTES, _LAST_BYTES = 1 * MiB, 64 << 10, 16 * MiB
_HEAD_BYTES, _TAIL_BYTES = 2 * MiB, 256 << 10
"""An error stands above the tracebacks that follow it, and those fill the end."""


def begin(log: Path, command: Sequence[str]) -> None:
    """Move the log of the last start to `….log.1`, and write the first line of a fresh one, readable by its owner alone."""
    if log.exists():
        log.replace(log.with_name(f"{log.name}.1"))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{_MARK}{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}: {shlex.join(command)}\n")


def last(log: Path, lines: int) -> Iterator[str]:
    """Yield the last lines, all for 0, and read nothing before them. Of an end without line breaks, 16 MiB at most."""
    with log.open("rb") as file:
        file.seek(_begin_of_last(file, lines) if lines else 0)
        pieces = (
            piece
            for line in iter(lambda: file.readline(_LINE_BYTES), b"")
            for piece in line.decode(errors="replace").splitlines()
        )
        yield from deque(pieces, maxlen=lines) if lines else pieces


def this_start(log: Path) -> str:
    """Return what the engine has written since its start: of a long log the first 2 MiB and the last 256 KiB."""
    try:
        with log.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            size = file.seek(0, os.SEEK_END)
            file.seek(max(len(head), size - _TAIL_BYTES))
            rest = file.read()
    except FileNotFoundError:
        return ""
    gap = "\n" if size - len(head) > _TAIL_BYTES else ""
    text = head.decode(errors="replace") + gap + rest.decode(errors="replace")
    first, _, after = text.partition("\n")
    return after if first.startswith(_MARK) else text


def _begin_of_last(file: BinaryIO, lines: int) -> int:
    """Return where the last lines begin. The file is read in blocks from its end."""
    end = file.seek(0, os.SEEK_END)
    position, floor = max(end - 1, 0), max(end - _LAST_BYTES, 0)  # a line break at the very end begins no line
    while position > floor:
        size = min(_BLOCK_BYTES, position - floor)
        position -= size
        file.seek(position)
        block = file.read(size)
        index = len(block)
        while (index := block.rfind(b"\n", 0, index)) >= 0:
            lines -= 1
            if lines == 0:
                return position + index + 1
    return floor
