"""The last lines of a log are read from its end, whatever its size."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from modelshelf.nodes import logs


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        (b"", 3, []),
        (b"a\nb\nc\n", 2, ["b", "c"]),
        (b"a\nb\nc", 2, ["b", "c"]),
        (b"a\nb\nc\n", 9, ["a", "b", "c"]),
        (b"a\nb\nc\n", 0, ["a", "b", "c"]),
        (b"a\n10 %\r20 %\nb\xff\n", 2, ["20 %", "b\ufffd"]),
        (b"x" * 200_000 + b"\n" + b"y" * 100_000 + b"\n", 1, ["y" * 100_000]),
    ],
    ids=["empty", "some", "unfinished", "more than there are", "all", "odd bytes", "long lines"],
)
def test_the_last_lines(tmp_path: Path, content: bytes, lines: int, expected: list[str]) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(content)
    assert list(logs.last(log, lines)) == expected


def test_a_log_of_five_gigabytes_costs_no_more_than_its_end(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    with log.open("wb") as file:
        file.truncate(5 << 30)
        file.seek(0, 2)
        file.write(b"\nlast\n")
    tracemalloc.start()
    assert list(logs.last(log, 1)) == ["last"]
    assert sum(len(line) for line in logs.last(log, 100)) <= 16 << 20
    assert tracemalloc.get_traced_memory()[1] < 128 << 20
    tracemalloc.stop()
