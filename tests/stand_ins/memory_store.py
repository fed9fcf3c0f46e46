"""A store that holds its blobs in memory: the contract and nothing else. What the library needs beyond it would fail here."""

from __future__ import annotations

import io
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import BinaryIO, Self

from modelshelf.digest import Blob, Digest
from modelshelf.errors import BlobBeingDeleted, BlobMissing, DigestMismatch, SizeMismatch
from modelshelf.formats.image import Image
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import ModelRef
from modelshelf.stop import StopToken
from modelshelf.store.contract import Arriving, Stored
from modelshelf.transfer.contract import Destination, Downloads, Span


@dataclass
class _Held:
    """A committed blob. `serial` is another one after each change, as the time of a file's last change is."""

    content: bytes
    serial: int
    since: float

    @property
    def stamp(self) -> str:
        return f"{len(self.content)} {self.serial}"


@dataclass
class _Arrival:
    """What has arrived of one fetch, and whether something is at work on it."""

    key: Digest
    content: bytearray
    finished: list[Span] = field(default_factory=list)
    validator: str | None = None
    touched: float = field(default_factory=time.time)
    taken: bool = True


class MemoryStore:
    """See `modelshelf.store.contract.Store`. `alter` is for tests."""

    def __init__(self, limits: Limits = DEFAULT, free: int = 1 << 40) -> None:
        self.locks = MemoryLocks(limits)
        self.free = free
        self._blobs: dict[Digest, _Held] = {}
        self._arrivals: list[_Arrival] = []
        self._serial = 0
        self._lock = threading.RLock()

    def __str__(self) -> str:
        return "memory"

    def alter(self, digest: Digest, content: bytes) -> None:
        """Write other bytes over a blob, as a bad disk does."""
        with self._lock:
            self._keep(digest, content)

    def lose(self, digest: Digest) -> None:
        """Let a blob vanish, as a bad disk does."""
        with self._lock:
            del self._blobs[digest]

    def sizes(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        return {digest: len(self._blobs[digest].content) for digest in digests if digest in self._blobs}

    def open(self, digest: Digest) -> BinaryIO:
        if (found := self._blobs.get(digest)) is None:
            raise BlobMissing(store=self, digest=digest)
        return io.BytesIO(found.content)

    def body(self, digest: Digest) -> MemoryBlob:
        if digest not in self._blobs:
            raise BlobMissing(store=self, digest=digest)
        return MemoryBlob(str(digest), f"the store {self}", len(self._blobs[digest].content), f"memory {digest}", self, digest)

    def read_each(self, digests: Iterable[Digest], at_most: int) -> Iterator[tuple[Digest, bytes | None]]:
        for digest in digests:
            found = self._blobs.get(digest)
            yield digest, found.content[:at_most] if found is not None else None

    def begin(self, key: Digest, size: int) -> MemoryIngest:
        with self._lock:
            for left in self._arrivals:
                if left.key == key and not left.taken and len(left.content) == size:
                    left.taken = True
                    return MemoryIngest(self, left)
            fresh = _Arrival(key, bytearray(size))
            self._arrivals.append(fresh)
            return MemoryIngest(self, fresh)

    def put(self, content: bytes) -> Blob:
        digest = Digest.of(content)
        with self.begin(digest, len(content)) as ingest:
            ingest.reset()
            ingest.write_at(0, content)
            return ingest.commit(digest, what="small content", whose="the test")

    def publish(self, image: Image, reference: ModelRef) -> set[Blob]:
        return {self.put(image.config), self.put(image.manifest)}

    def delete(self, digest: Digest) -> int:
        with self._lock:
            gone = self._blobs.pop(digest, None)
        return len(gone.content) if gone is not None else 0

    def stamps(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        return {digest: self._blobs[digest].stamp for digest in digests if digest in self._blobs}

    def only_linked(self, before: str, after: str) -> bool:
        return before == after

    def read_through(
        self, digest: Digest, stop: StopToken, on_bytes: Callable[[int], None] = lambda _count: None
    ) -> tuple[str, Digest]:
        stamps = self.stamps([digest])
        with self.open(digest) as file:
            return stamps[digest], Digest.of_file(file, stop, lambda piece: on_bytes(len(piece)))

    def stored(self, among: Iterable[Digest] | None = None) -> Iterator[Stored]:
        for digest in list(self._blobs if among is None else among):
            if (found := self._blobs.get(digest)) is not None:
                yield Stored(digest, len(found.content), time.time() - found.since)

    def foreign(self) -> Iterator[str]:
        return iter(())

    def arriving(self) -> Iterator[Arriving]:
        for one in list(self._arrivals):
            yield Arriving(one.key, sum(map(len, one.finished)), len(one.content))

    def discard_abandoned(self, seconds: float) -> int:
        before = time.time() - seconds
        with self._lock:
            going = [one for one in self._arrivals if not one.taken and one.touched < before]
            for one in going:
                self._arrivals.remove(one)
        return sum(len(one.content) for one in going)

    def free_bytes(self) -> int:
        return self.free

    def _keep(self, digest: Digest, content: bytes) -> str:
        self._serial += 1
        held = self._blobs[digest] = _Held(content, self._serial, time.time())
        return held.stamp

    def _commit(self, digest: Digest, content: bytes) -> Blob:
        with self._lock:
            there = self._blobs.get(digest)
            if there is not None and Digest.of(there.content) == digest:
                there.since = time.time()
                return Blob(digest, len(content), there.stamp)
            return Blob(digest, len(content), self._keep(digest, content))

    def _drop(self, arrival: _Arrival) -> None:
        with self._lock, suppress(ValueError):
            self._arrivals.remove(arrival)


@dataclass(frozen=True)
class MemoryBlob:
    """See `modelshelf.transfer.contract.Body`: what the store has of the blob when it is asked for."""

    what: str
    whose: str
    size: int
    address: str
    store: MemoryStore
    digest: Digest

    def deliver(self, into: Destination, downloads: Downloads, *, proven: bool) -> None:
        with self.store.open(self.digest) as file:
            content = file.read()
        for span in into.missing(64 * 1024):
            downloads.stop.check()
            into.write_at(span.start, content[span.start : span.end].ljust(len(span), b"\0"))
            into.finish(span)
            downloads.on_bytes(len(span))


class MemoryIngest:
    """See `modelshelf.store.contract.Ingest`."""

    def __init__(self, store: MemoryStore, arrival: _Arrival) -> None:
        self._store, self._arrival = store, arrival
        self._size = len(arrival.content)
        self._written = list(arrival.finished)
        self.resumed = bool(arrival.finished)

    def validator(self) -> str | None:
        return self._arrival.validator

    def begin_with(self, validator: str | None) -> None:
        self._arrival.validator = validator

    def missing(self, part_bytes: int) -> list[Span]:
        spans, front = [], 0
        for done in [*_joined(self._arrival.finished), Span(self._size, self._size)]:
            spans += [Span(at, min(at + part_bytes, done.start)) for at in range(front, done.start, part_bytes)]
            front = done.end
        return spans

    def write_at(self, offset: int, *pieces: bytes) -> None:
        data = b"".join(pieces)
        self._arrival.content[offset : offset + len(data)] = data
        self._written.append(Span(offset, offset + len(data)))
        self._arrival.touched = time.time()

    def finish(self, span: Span) -> None:
        self._arrival.finished.append(span)

    def arrived(self) -> int:
        return sum(map(len, _joined(self._arrival.finished)))

    def reset(self) -> None:
        self.resumed, self._written = False, []
        self._arrival.validator, self._arrival.finished = None, []

    def look(self) -> BinaryIO:
        return io.BytesIO(self._arrival.content)

    def digest(self) -> Digest:
        self._require_all("it", "the caller")
        return Digest.of(self._arrival.content)

    def commit(
        self, digest: Digest, *, what: str, whose: str, stop: StopToken | None = None,
        then: Callable[[Blob], None] = lambda _blob: None,
    ) -> Blob:  # fmt: skip
        self._require_all(what, whose)
        if (found := self.digest()) != digest:
            self.discard()
            raise DigestMismatch(what=what, whose=whose, expected=digest, found=found, size=self._size)
        with self._store.locks.removing(digest, stop):
            blob = self._store._commit(digest, bytes(self._arrival.content))
            then(blob)
        self._store._drop(self._arrival)
        return blob

    def discard(self) -> None:
        self._store._drop(self._arrival)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._arrival.taken = False

    def _require_all(self, what: str, whose: str) -> None:
        found = sum(map(len, _joined(self._written)))
        if found != self._size:
            raise SizeMismatch(what=what, whose=whose, expected=self._size, found=found)


class MemoryLocks:
    """See `modelshelf.store.contract.Locks`; between the threads of this process."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._changed = threading.Condition()
        self._removing: set[Digest] = set()
        self._counting: Counter[Digest] = Counter()

    @contextmanager
    def removing(self, digest: Digest, stop: StopToken | None = None) -> Iterator[None]:
        with self._changed:
            self._wait(lambda: digest not in self._removing and not self._counting[digest], digest, stop)
            self._removing.add(digest)
        try:
            yield
        finally:
            with self._changed:
                self._removing.remove(digest)
                self._changed.notify_all()

    @contextmanager
    def counting_on(self, digests: Collection[Digest], stop: StopToken | None = None) -> Iterator[None]:
        wanted = set(digests)
        with self._changed:
            for digest in wanted:
                self._wait(lambda: not wanted & self._removing, digest, stop)
            self._counting.update(wanted)
        try:
            yield
        finally:
            with self._changed:
                self._counting.subtract(wanted)
                self._changed.notify_all()

    def _wait(self, free: Callable[[], bool], digest: Digest, stop: StopToken | None) -> None:
        until = time.monotonic() + self._limits.lock_seconds
        while not free():
            if stop is not None:
                stop.check()
            if time.monotonic() >= until:
                raise BlobBeingDeleted(digest=digest, holder="another thread")
            self._changed.wait(0.05)


def _joined(spans: Iterable[Span]) -> list[Span]:
    """The spans in order, those that touch or overlap as one."""
    joined: list[Span] = []
    for span in sorted(spans):
        if joined and span.start <= joined[-1].end:
            joined[-1] = Span(joined[-1].start, max(joined[-1].end, span.end))
        elif len(span):
            joined.append(span)
    return joined
