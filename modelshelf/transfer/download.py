"""Downloading one blob: in parallel ranges, resumable, hashed as it arrives, proven before it is visible.

A server's word is never taken for progress: a range must be the range that was asked for, of the size that was listed,
of content that did not change since; and in the end the digest decides.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass

from modelshelf.errors import (
    ConnectionCut,
    ContentChanged,
    SizeMismatch,
    Stalled,
    TooBusy,
    Unavailable,
    UnexpectedAnswer,
)
from modelshelf.transfer.contract import Destination, Downloads, Span
from modelshelf.wire import Url

_WRITE_BYTES = 256 * 1024
_NOTE_BYTES = 768 * 1024
"""Progress within a part is noted that often: with what is not written yet, a kill loses less than 1 MiB a connection."""
_WRITE_PIECES = 64
"""TLS brings at most 16 KiB at a time: they are written together."""
_RENEWALS = 2
"""New tokens for a part without a byte between them: another one would not be taken either."""


@dataclass(frozen=True, slots=True)
class Remote:
    """One file at its source. `size` in bytes."""

    what: str
    whose: str
    url: Url
    size: int
    login: str = ""
    """What `modelshelf login` is told for this source."""
    accept: str = "*/*"

    @property
    def address(self) -> str:
        """The URL without its query, where a server may put what is only valid for a while."""
        return str(self.url)

    def deliver(self, into: Destination, downloads: Downloads, *, proven: bool) -> None:
        """Receive what `into` lacks, and all of it once more if what has arrived cannot be continued."""
        for last_chance in (False, True):
            attempt = _Attempt(downloads, self, into, proven=proven)
            try:
                attempt.run()
                return
            except _StartAgain as again:
                downloads.on_bytes(-attempt.counted - into.arrived())
                into.reset()
                if last_chance:
                    raise again.reason from again


class _StartAgain(Exception):
    """What has arrived cannot be continued; the reason is an error for the case that it happens twice."""

    def __init__(self, reason: Unavailable | UnexpectedAnswer) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Attempt:
    """One attempt at one file: the first part tells what the server can do, the others follow its answer."""

    def __init__(self, downloads: Downloads, remote: Remote, into: Destination, *, proven: bool) -> None:
        self._connections, self._wire, self._login = downloads.connections, downloads.wire, downloads.login
        self._remote, self._into, self._stop = remote, into, downloads.stop.child()
        self._report, self._limits = downloads.on_bytes, downloads.limits
        self._proven = proven
        self._heard, self._known_validator = into.resumed, into.validator() if into.resumed else None
        self._others: list[Span] = []
        self._futures: list[Future[None]] = []
        self._pool: ThreadPoolExecutor | None = None
        self._counting = threading.Lock()
        self.counted = 0
        """Bytes that arrived in this attempt and are not noted as arrived yet."""

    def run(self) -> None:
        spans = self._into.missing(self._limits.part_bytes)
        if not spans:
            return
        first, *self._others = spans
        with ThreadPoolExecutor(self._limits.parts_at_once, thread_name_prefix="part") as self._pool:
            self._futures = [self._pool.submit(self._receive_part, first)]
            try:
                self._futures[0].result()  # its answer makes the list longer
                done, _ = wait_for(self._futures, return_when=FIRST_EXCEPTION)
                for failure in [error for future in done if (error := future.exception()) is not None]:
                    raise failure
            finally:
                self._stop.set()

    def answered(self, validator: str | None, *, ranged: bool) -> None:
        """The first answer is here: note what is being served, and let the other parts begin."""
        if not self._proven and self._heard and validator != self._known_validator:
            changed = ContentChanged(
                what=self._remote.what, host=self._remote.url.place, before=self._known_validator, after=validator
            )
            raise _StartAgain(changed)
        if self._pool is None:
            return
        self._heard, self._known_validator = True, validator
        self._into.begin_with(validator)
        pool, self._pool = self._pool, None
        if ranged:
            self._futures += [pool.submit(self._receive_part, span) for span in self._others]

    def count(self, size: int) -> None:
        with self._counting:
            self.counted += size
        self._report(size)

    def note(self, span: Span) -> None:
        """The span is there for whoever goes on."""
        self._into.finish(span)
        with self._counting:
            self.counted -= len(span)

    def _receive_part(self, span: Span) -> None:
        with self._connections.turn(self, self._stop):
            self._receive_in_turn(span)

    def _receive_in_turn(self, span: Span) -> None:
        at, end, failures, renewals = span.start, span.end, 0, 0
        while at < end:
            sink = _PartSink(self, self._remote, self._into, at, end)
            shown = self._login.current if self._login is not None else None
            headers = {"Accept": self._remote.accept}
            if (at, end) != (0, self._remote.size):
                headers["Range"] = f"bytes={at}-{end - 1}"
            try:
                try:
                    answer = self._wire.receive(
                        self._remote.url,
                        sink,
                        at_most=self._remote.size,
                        headers=headers,
                        authorization=shown,
                        stop=self._stop,
                    )
                finally:
                    sink.end_answer()
                if answer.status == 416:
                    reason = "it has no such range of the file (status 416)"
                    raise _StartAgain(UnexpectedAnswer(host=answer.url.place, what=self._remote.what, reason=reason))
                if answer.status == 401 and self._login is not None and renewals < _RENEWALS:
                    renewals += 1
                    if self._login.renew(answer, shown, self._stop):
                        continue
                if self._wire.wait_if_busy(answer, self._stop):
                    failures += 1
                    if failures < self._limits.attempts:
                        continue
                answer.expect(200, 206, what=self._remote.what, login=self._remote.login)
                if sink.at < sink.end:
                    raise ConnectionCut(host=answer.url.place, found=sink.at - at, expected=sink.end - at, what=self._remote.what)
            except Unavailable as error:
                progressed = sink.at > at and not isinstance(error, Stalled)  # a trickle is no progress
                failures = 0 if progressed else failures + 1
                if failures >= self._limits.attempts or isinstance(error, ContentChanged | TooBusy):
                    raise
                self._stop.wait(self._limits.backoff_seconds * 2**failures)
            renewals = 0 if sink.at > at else renewals
            at, end = sink.at, sink.end


class _PartSink:
    """Checks that the answer is the range that was asked for, and writes it to its place."""

    def __init__(self, download: _Attempt, remote: Remote, into: Destination, at: int, end: int) -> None:
        self._download, self._remote, self._into = download, remote, into
        self.at, self.end = at, end
        self._noted = at
        self._pieces: list[bytes] = []
        self._held = 0

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        size = self._remote.size
        if status == 206:
            self._check_range(headers)
        elif self.at > 0:
            reason = "it answers a range with the whole file (status 200)"
            raise _StartAgain(UnexpectedAnswer(host=self._remote.url.place, what=self._remote.what, reason=reason))
        else:
            length = headers.get("content-length", str(size))
            if length != str(size):
                raise SizeMismatch(what=self._remote.what, whose=self._remote.whose, expected=size, found=length)
            self.end = size
        self._download.answered(_validator(headers), ranged=status == 206)

    def write(self, data: bytes) -> None:
        if self._held + len(data) > self.end - self.at:
            raise UnexpectedAnswer(host=self._remote.url.place, what=self._remote.what, reason="its body is longer than it says")
        self._pieces.append(data)
        self._held += len(data)
        if self._held >= _WRITE_BYTES or len(self._pieces) == _WRITE_PIECES:
            self.flush()

    def end_answer(self) -> None:
        """However the answer ended, also by a cancellation: what came of it is written and noted, to the last byte."""
        self.flush()
        if self.at > self._noted:
            self._download.note(Span(self._noted, self.at))
            self._noted = self.at

    def flush(self) -> None:
        """All that was received has been written, and counted."""
        pieces, size, self._pieces, self._held = self._pieces, self._held, [], 0
        if size:
            self._into.write_at(self.at, *pieces)
            self.at += size
            self._download.count(size)
            if self.at - self._noted >= _NOTE_BYTES:
                self._download.note(Span(self._noted, self.at))
                self._noted = self.at

    def _check_range(self, headers: Mapping[str, str]) -> None:
        said = headers.get("content-range", "none")
        match = re.fullmatch(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", said)
        wanted = f"bytes {self.at}-{self.end - 1}/{self._remote.size}"
        if match is None or (int(match[1]), int(match[2])) != (self.at, self.end - 1):
            reason = f"asked for {wanted}, it sends {said[:100]!r}"
            raise UnexpectedAnswer(host=self._remote.url.place, what=self._remote.what, reason=reason)
        if match[3] not in ("*", str(self._remote.size)):
            raise SizeMismatch(what=self._remote.what, whose=self._remote.whose, expected=self._remote.size, found=match[3])


def _validator(headers: Mapping[str, str]) -> str | None:
    """What changes when the content does; a weak ETag promises too little."""
    etag = headers.get("etag", "")
    return etag if etag and not etag.startswith("W/") else headers.get("last-modified")
