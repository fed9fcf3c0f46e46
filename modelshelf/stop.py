"""How a thread learns that it should end: asked between two buffers, never killed in the middle of one."""

from __future__ import annotations

import threading


class Stopped(Exception):
    """The run was asked to stop. Not an error of ours: what was finished stays finished."""


class StopToken:
    """Set once, seen by every thread that works for one run."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._children: list[StopToken] = []
        self._lock = threading.Lock()

    def child(self) -> StopToken:
        """A token for a part of the work: set with this one, or alone."""
        token = StopToken()
        with self._lock:
            self._children.append(token)
            if self._event.is_set():
                token.set()
        return token

    def set(self) -> None:
        with self._lock:
            self._event.set()
            for token in self._children:
                token.set()

    def is_set(self) -> bool:
        return self._event.is_set()

    def check(self) -> None:
        """Raise Stopped if the run was asked to stop."""
        if self._event.is_set():
            raise Stopped

    def wait(self, seconds: float) -> None:
        """Wait that long, or raise Stopped as soon as the run is asked to stop."""
        if self._event.wait(seconds):
            raise Stopped
