"""What one hop sends, kept within limits."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import pycurl

from modelshelf.errors import (
    CertificateRefused,
    ConnectionCut,
    LimitExceeded,
    NoAnswer,
    Stalled,
    UnexpectedAnswer,
    Unreachable,
)
from modelshelf.limits import Limits
from modelshelf.stop import Stopped, StopToken
from modelshelf.wire import proxies
from modelshelf.wire.answer import Sink
from modelshelf.wire.url import Authorization, Url

_LISTS = {"www-authenticate", "link", "ratelimit"}
"""Headers whose lines are parts of one list (RFC 9110, 5.3) that we read; of any other the last line counts."""
_STATUS = re.compile(r"HTTP/[0-9.]+ ([0-9]{3})(?: |$)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    headers: dict[str, str]
    body: bytes | None
    authorization: Authorization | None
    seconds: int | None
    stop: StopToken | None
    sink: Sink | None


class Receiver:
    """What one hop sends, kept within limits. An exception cannot pass through libcurl: it is kept and raised after."""

    def __init__(self, call: Call, url: Url, at_most: int, limits: Limits) -> None:
        self._call, self._url, self._at_most, self._limits = call, url, at_most, limits
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self._header_bytes = 0
        self._count = 0
        self._received = 0
        self._streaming: bool | None = None
        self._failure: BaseException | None = None
        self.connected = False
        self.heard_enough = False
        """An error's body was longer than we read; the connection was closed."""

    def header(self, line: bytes) -> int | None:
        return self._kept(self._header, line)

    def write(self, data: bytes) -> int | None:
        return self._kept(self._write, data)

    def progress(self, *_counts: int) -> int:
        return 1 if self._call.stop is not None and self._call.stop.is_set() else 0

    def end(self) -> None:
        """The transfer ended well: an empty body still has a head."""
        self._begin_body()

    def explain(self, error: pycurl.error, limits: Limits) -> BaseException:
        code, message = error.args[0], proxies.without_logins(str(error.args[1]))
        if self._failure is not None:
            return self._failure
        if self._call.stop is not None and self._call.stop.is_set():
            return Stopped()
        host = self._url.place
        if code == pycurl.E_OPERATION_TIMEDOUT and self.connected:
            if self._call.seconds is not None:
                return NoAnswer(host=host, what=self._url, seconds=self._call.seconds)
            return Stalled(host=host, rate=limits.stall_bytes_per_second, seconds=limits.stall_seconds)
        if code in (pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE):
            return CertificateRefused(host=host, reason=message)
        if code in (pycurl.E_PARTIAL_FILE, pycurl.E_RECV_ERROR, pycurl.E_GOT_NOTHING, pycurl.E_SEND_ERROR):
            expected = self.headers.get("content-length", "?")
            return ConnectionCut(host=host, found=self._received, expected=expected, what=self._url)
        if code in (pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_URL_MALFORMAT, pycurl.E_FTP_WEIRD_SERVER_REPLY):
            return UnexpectedAnswer(host=host, what=self._url, reason=message)
        return Unreachable(host=host, how=proxies.how(self._url), reason=message)

    def _kept(self, take: Callable[[bytes], None], data: bytes) -> int | None:
        try:
            take(data)
        except BaseException as error:  # noqa: BLE001 - raised again by explain(), on the other side of libcurl
            self._failure = error
            return -1
        return -1 if self.heard_enough else None

    def _header(self, line: bytes) -> None:
        self._header_bytes += len(line)
        if self._header_bytes > self._limits.response_header_bytes or self._count > self._limits.response_headers:
            found = f"{self._header_bytes} bytes, {self._count} lines"
            limit = f"{self._limits.response_header_bytes} bytes in {self._limits.response_headers} lines"
            raise LimitExceeded(what=f"the header from {self._url.place}", found=found, limit=limit)
        self._count += 1
        text = line.decode("latin-1").strip()
        if (status := _STATUS.match(text)) is not None:
            self.status = int(status[1])
            self.headers = {}
        elif ":" in text:
            name, _, value = text.partition(":")
            name, value = name.strip().lower(), value.strip()
            joined = name in _LISTS and name in self.headers
            self.headers[name] = f"{self.headers[name]}, {value}" if joined else value

    def _begin_body(self) -> None:
        if self._streaming is not None:
            return
        self._streaming = self._call.sink is not None and self.status in (200, 206)
        encoding = self.headers.get("content-encoding", "identity")
        if self.status < 300 and self._call.method != "HEAD" and encoding not in ("", "identity"):
            reason = f"it is {encoding}-encoded, although no encoding was requested"
            raise UnexpectedAnswer(host=self._url.place, what=self._url, reason=reason)
        if self._streaming and self._call.sink is not None:
            self._call.sink.head(self.status, self.headers)

    def _write(self, data: bytes) -> None:
        if self._call.stop is not None:
            self._call.stop.check()
        self._begin_body()
        if self._streaming and self._call.sink is not None:
            self._received += len(data)
            if self._received > self._at_most:
                what = f"the answer of {self._url.place} for {self._url}"
                raise LimitExceeded(what=what, found=f"more than {self._at_most} bytes", limit=self._at_most)
            self._call.sink.write(data)
            return
        if self.status >= 400:
            self.body += data[: self._limits.error_body_bytes - len(self.body)]
            self.heard_enough = len(self.body) >= self._limits.error_body_bytes
        elif len(self.body) + len(data) > self._at_most:
            what = f"the answer of {self._url.place} for {self._url}"
            raise LimitExceeded(what=what, found=f"more than {self._at_most} bytes", limit=self._at_most)
        else:
            self.body += data
