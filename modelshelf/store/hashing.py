"""Hashing a file while it arrives, so that its digest is known when its last byte is."""

from __future__ import annotations

import hashlib
import os
import threading

_STEP = 1 << 20
_FLUSH_EVERY = 128 << 20
_LEAD = 24 << 20
_YIELD_SECONDS = 0.05
"""Who is that many bytes ahead of the hash gives way, this long a step: where the processor is the limit, the hash is what
the end waits for, and receiving faster only starves it."""


class FrontHasher:
    """A thread that hashes a file up to a front that others move forward, and one that brings it to the disk meanwhile.

    What is hashed is read back from the file, so the digest is of the bytes that a reader will get. What was flushed early
    need not be waited for at the end; the commit's own fsync is what makes it durable.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._hash = hashlib.sha256()
        self._buffer = memoryview(bytearray(_STEP))
        self._hashed = 0
        self._front = 0
        self._told = 0
        self._flushed = 0
        self._closed = False
        self._error: OSError | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._flusher: threading.Thread | None = None

    def advance(self, front: int) -> None:
        """Everything before `front` has been written. The thread is told once a step, not for each buffer."""
        if front - self._told < _STEP:
            return
        with self._changed:
            self._told = self._front = max(front, self._front)
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._follow, name="hasher", daemon=True)
                self._flusher = threading.Thread(target=self._flush, name="hasher flush", daemon=True)
                self._thread.start()
                self._flusher.start()
            self._changed.notify_all()

    def give_way(self) -> None:
        """Wait a little if the hash is far behind what has arrived."""
        if self._front - self._hashed > _LEAD:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._front - self._hashed <= _LEAD, timeout=_YIELD_SECONDS)

    def finish(self, size: int) -> str:
        """The hex sha256 of the first `size` bytes, all of which have been written."""
        with self._changed:
            self._front = size
            self._changed.notify_all()
            if self._thread is not None:
                self._changed.wait_for(lambda: self._hashed >= size or self._error is not None)
        if self._thread is None:
            self._hash_to(size)
        if self._error is not None:
            raise self._error
        return self._hash.hexdigest()

    def close(self) -> None:
        """The thread has ended; the descriptor may be closed."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in (self._thread, self._flusher):
            if thread is not None:
                thread.join()

    def _follow(self) -> None:
        while True:
            with self._changed:
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or self._front > self._hashed)
                front = self._front
            if self._closed:
                return
            try:
                self._hash_to(front)
            except OSError as error:
                with self._changed:
                    self._error = error
                    self._changed.notify_all()
                return

    def _flush(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._front - self._flushed >= _FLUSH_EVERY)
                self._flushed = self._front
            if self._closed:
                return
            try:
                os.fdatasync(self._descriptor)
            except OSError:  # the commit's fsync meets the same trouble, and tells it
                return

    def _hash_to(self, front: int) -> None:
        while self._hashed < front and not self._closed:
            step = self._buffer[: min(_STEP, front - self._hashed)]
            count = os.preadv(self._descriptor, [step], self._hashed)
            if count == 0:
                raise OSError(f"the file ends at byte {self._hashed}, {front} were written")
            self._hash.update(step[:count])
            self._hashed += count
            if self._front - self._hashed > _LEAD - (8 << 20):
                with self._changed:
                    self._changed.notify_all()
