"""The journal of one arrival: which of its bytes are there, kept beside them for the process that goes on.

    {"format": 1, "size": 5000, "validator": "\"v1\""}
    0 1000
    3000 4000

A line is appended about once a MiB of each connection, so a kill costs at most that. The digest proves it all in the end.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from modelshelf.transfer.contract import Span

_FORMAT = 1


class Journal:
    """The spans that have arrived, in memory and at `path`. Not safe for several threads: its owner locks."""

    def __init__(self, path: Path, size: int) -> None:
        self._path, self._size = path, size
        self._appending: int | None = None
        self.validator: str | None = None
        self._starts: dict[int, int] = {}
        """Start of each run of bytes, and its end; `_ends` the other way round."""
        self._ends: dict[int, int] = {}

    def spans(self) -> list[Span]:
        """What has arrived, in order, runs that touch joined."""
        return [Span(start, end) for start, end in sorted(self._starts.items())]

    def arrived(self) -> int:
        return sum(end - start for start, end in self._starts.items())

    def add(self, span: Span) -> None:
        """The span has arrived, here and in the file."""
        self._join(span)
        if self._appending is None:
            self._appending = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.write(self._appending, b"%d %d\n" % (span.start, span.end))

    def write(self) -> None:
        """The file says what is known here, and nothing else."""
        self.close()
        head = {"format": _FORMAT, "size": self._size, "validator": self.validator}
        self._path.write_text("\n".join([json.dumps(head), *(f"{span.start} {span.end}" for span in self.spans())]) + "\n")

    def clear(self) -> None:
        self.validator, self._starts, self._ends = None, {}, {}
        self.write()

    def read(self) -> bool:
        """Take over what the file says; False if it cannot be trusted as progress."""
        try:
            head, *lines = self._path.read_text().splitlines()
            match json.loads(head):
                case {"format": int(form), "size": int(size), "validator": str() | None as validator}:
                    if form != _FORMAT or size != self._size:
                        return False
                case _:
                    return False
            spans = sorted(Span(*map(int, line.split())) for line in lines if line.count(" ") == 1)
        except (OSError, ValueError, TypeError):
            return False
        front = 0
        for span in spans:
            if not front <= span.start < span.end <= self._size:
                return False
            front = span.end
        self.validator = validator
        for span in spans:
            self._join(span)
        return True

    def remove(self) -> None:
        self.close()
        self._path.unlink(missing_ok=True)

    def close(self) -> None:
        if self._appending is not None:
            os.close(self._appending)
            self._appending = None

    def _join(self, span: Span) -> None:
        start = self._ends.pop(span.start, span.start)
        end = self._starts.pop(span.end, span.end)
        self._ends.pop(end, None)
        self._starts[start], self._ends[end] = end, start


def arrived_by(path: Path) -> int:
    """Bytes that the journal at `path` lists; 0 if it cannot be read, or is gone."""
    try:
        _, *lines = path.read_text().splitlines()
        spans = [Span(*map(int, line.split())) for line in lines if line.count(" ") == 1]
    except (OSError, ValueError, TypeError):
        return 0
    return sum(len(span) for span in spans if span.start < span.end)
