"""What both stand-ins share: a threaded server, ranges, and faults that a test plants."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self

_CHUNK = 1 << 20


@dataclass
class Content:
    """Bytes in memory or in a file."""

    source: bytes | Path

    @property
    def size(self) -> int:
        return self.source.stat().st_size if isinstance(self.source, Path) else len(self.source)

    def read(self, start: int, end: int) -> bytes:
        if isinstance(self.source, bytes):
            return self.source[start:end]
        with self.source.open("rb") as file:
            file.seek(start)
            return file.read(end - start)


@dataclass
class Faults:
    """What the next answers for bodies do wrong. Counters go down with each answer that they spoil."""

    cut_after: int | None = None
    """Close the connection after this many bytes of a body, `cuts` times."""
    cuts: int = 0
    ignore_ranges: bool = False
    lie_about_range: bool = False
    refuse_ranges: int = 0
    """Answer 416 to this many ranged requests."""
    flip_byte_at: int | None = None
    etag_changes: bool = False
    encode: str | None = None
    grow_by: int = 0
    shrink_by: int = 0
    busy: int = 0
    """Answer 429 this many times, with `retry_after`."""
    retry_after: str | None = "0"
    busy_headers: dict[str, str] = field(default_factory=dict)
    stall_after: int | None = None
    """Send this many bytes and then nothing until `released` is set."""
    released: threading.Event = field(default_factory=threading.Event)
    before_body: Callable[[], None] | None = None
    """Called before a body is sent: a test's own hook."""
    pace: float = 0.0
    """Seconds between chunks, for progress that one can watch."""


class StandIn:
    """A server on a free loopback port while it is entered."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self.faults = Faults()
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        """Method, path and headers of everything that was asked."""
        self.body_bytes = 0
        """Bytes of blob and file bodies that were sent."""
        self._lock = threading.Lock()
        self._etags = 0
        self._server = _Server((address, 0), _handler(self))
        self.port = self._server.server_address[1]
        self.host = f"{address}:{self.port}"
        self.url = f"http://{self.host}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.faults.released.set()
        self._server.shutdown()
        self._server.server_close()

    def asked(self, fragment: str, method: str = "GET") -> int:
        """How many requests of that method had the fragment in their path."""
        return sum(1 for asked, path, _ in self.requests if asked == method and fragment in path)

    def send(self, request: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str | list[str]) -> None:
        request.send_response(status)
        for name, value in headers.items():
            for line in [value] if isinstance(value, str) else value:
                request.send_header(name.replace("_", "-"), line)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(body)

    def send_content(self, request: BaseHTTPRequestHandler, content: Content, etag: str) -> None:
        """A file's body, ranges and planted faults included."""
        faults = self.faults
        if faults.busy > 0:
            faults.busy -= 1
            told = {"Retry-After": faults.retry_after} if faults.retry_after is not None else {}
            return self.send(request, 429, b"slow down", **told, **faults.busy_headers)
        size = content.size
        start, end, status = 0, size, 200
        match = re.fullmatch(r"bytes=([0-9]+)-([0-9]*)", request.headers.get("Range", ""))
        if match and not faults.ignore_ranges:
            if faults.refuse_ranges > 0:
                faults.refuse_ranges -= 1
                return self.send(request, 416, b"", Content_Range=f"bytes */{size}")
            start, end, status = int(match[1]), min(int(match[2] or size - 1) + 1, size), 206
        if faults.etag_changes:
            self._etags += 1
            etag = f"{etag}-{self._etags}"
        length = end - start + faults.grow_by - faults.shrink_by
        request.send_response(status)
        request.send_header("Content-Length", str(length))
        request.send_header("ETag", f'"{etag}"')
        request.send_header("Accept-Ranges", "bytes")
        if faults.encode:
            request.send_header("Content-Encoding", faults.encode)
        if status == 206:
            lie = 1 if faults.lie_about_range else 0
            request.send_header("Content-Range", f"bytes {start + lie}-{end - 1 + lie}/{size}")
        request.end_headers()
        if request.command == "HEAD":
            return None
        if faults.before_body is not None:
            faults.before_body()
        return self._send_body(request, content, start, start + length)

    def _send_body(self, request: BaseHTTPRequestHandler, content: Content, start: int, end: int) -> None:
        faults = self.faults
        sent = 0
        for at in range(start, end, _CHUNK):
            data = content.read(at, min(at + _CHUNK, end))
            data += b"\0" * (min(at + _CHUNK, end) - at - len(data))
            if (flip := faults.flip_byte_at) is not None and at <= flip < at + len(data):
                data = data[: flip - at] + bytes([data[flip - at] ^ 1]) + data[flip - at + 1 :]
            if faults.cuts > 0 and faults.cut_after is not None and sent + len(data) > faults.cut_after:
                request.wfile.write(data[: faults.cut_after - sent])
                faults.cuts -= 1
                request.close_connection = True
                request.connection.close()
                return
            if faults.stall_after is not None and sent + len(data) > faults.stall_after:
                request.wfile.write(data[: faults.stall_after - sent])
                request.wfile.flush()
                faults.released.wait(60)
                return
            request.wfile.write(data)
            sent += len(data)
            with self._lock:
                self.body_bytes += len(data)
            if faults.pace:
                faults.released.wait(faults.pace)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is what many tests are about."""


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 0

        def _answer(self) -> None:
            with stand_in._lock:
                stand_in.requests.append((self.command, self.path, dict(self.headers.items())))
            stand_in.answer(self)

        do_GET = do_HEAD = do_POST = do_PATCH = do_CONNECT = _answer

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: tests read `requests`."""

    return Handler
