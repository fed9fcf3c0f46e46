"""How many connections are open at once, and which file's turn comes next."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from modelshelf.limits import Limits
from modelshelf.stop import StopToken

_LOOK_SECONDS = 0.25
_SPARE = 0.6
"""Processors' worth of our own work, below which another connection is worth trying."""


class Connections:
    """How many connections may be open: two at first, more while our processor has time to spare.

    Over a long line each connection adds speed. On a fast one the processor is the limit, and threads that compete for
    it make everything slower (measured on two cores: eight connections took 1.4 times as long as two).
    """

    def __init__(self, limits: Limits) -> None:
        self._most = limits.parts_at_once
        self._allowed = min(2, self._most)
        self._used: Counter[object] = Counter()
        self._waiting: list[tuple[object, object]] = []
        """The file that asks, and which of its parts: in the order in which they asked."""
        self._changed = threading.Condition()
        self._looked_at, self._processor = time.monotonic(), time.process_time()

    @contextmanager
    def turn(self, file: object, stop: StopToken) -> Iterator[None]:
        """Files come in turn, so that their hashes run side by side; within one, its front is not overtaken."""
        mine = (file, object())
        with self._changed:
            self._waiting.append(mine)
            try:
                while self._used.total() >= self._allowed or self._next() is not mine:
                    self._changed.wait(_LOOK_SECONDS)
                    stop.check()
                    self._allow_more()
                self._used[file] += 1
            finally:
                self._waiting.remove(mine)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._used[file] -= 1
                self._changed.notify_all()

    def _next(self) -> tuple[object, object]:
        return min(self._waiting, key=lambda waiting: self._used[waiting[0]])

    def _allow_more(self) -> None:
        now, processor = time.monotonic(), time.process_time()
        if now - self._looked_at < _LOOK_SECONDS:
            return
        busy = (processor - self._processor) / (now - self._looked_at)
        self._looked_at, self._processor = now, processor
        if busy < _SPARE:
            self._allowed = min(self._most, self._allowed * 2)
            self._changed.notify_all()
