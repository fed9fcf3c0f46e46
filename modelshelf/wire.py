"""The one HTTP client, over libcurl: which hosts may be reached, where credentials go, and how much is taken.

Redirects are followed here and not by libcurl, because each hop is a decision: credentials stay with the origin
(scheme, host and port) that they belong to, https never becomes http, and a server cannot send us to an address inside
our own network. The address that is checked is the one that is connected to: libcurl asks before it opens the socket.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import socket
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, Self
from urllib.parse import urljoin, urlsplit

import certifi
import pycurl

from modelshelf.errors import (
    AccessDenied,
    CertificateRefused,
    ConnectionCut,
    LimitExceeded,
    LoginNeeded,
    NotFound,
    RedirectRefused,
    ServerTrouble,
    Stalled,
    TooBusy,
    UnexpectedAnswer,
    Unreachable,
)
from modelshelf.limits import DEFAULT, Limits
from modelshelf.stop import Stopped, StopToken
from modelshelf.strict_json import load_json

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https address without user, fragment, blank or control character."""

    text: str
    scheme: str = field(init=False)
    host: str = field(init=False)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.text)
            port = parts.port
        except ValueError as error:
            raise UnexpectedAnswer(host="the source", what="an address", reason=f"{self.text[:100]!r}: {error}") from error
        good = re.fullmatch(r"[!-~]+", self.text) and parts.scheme in _PORTS and parts.hostname and parts.username is None
        if not good or port == 0 or "\\" in self.text:
            raise UnexpectedAnswer(host="the source", what="an address", reason=f"{self.text[:100]!r} is not usable")
        object.__setattr__(self, "scheme", parts.scheme)
        object.__setattr__(self, "host", str(parts.hostname).rstrip("."))
        object.__setattr__(self, "port", port or _PORTS[parts.scheme])

    @property
    def origin(self) -> tuple[str, str, int]:
        """Whom credentials belong to: another port of one host is another server."""
        return (self.scheme, self.host, self.port)

    @property
    def place(self) -> str:
        """`host`, or `host:port` where the port is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def join(self, location: str) -> Self:
        return type(self)(urljoin(self.text, location.partition("#")[0]))

    def __str__(self) -> str:
        return self.text.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Authorization:
    """The value of an Authorization header; shown nowhere."""

    value: str = field(repr=False)

    @classmethod
    def bearer(cls, token: str) -> Self:
        return cls(f"Bearer {token}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the last hop answered. `url` is where that was, `hops` every answer's headers in order, the last included."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: Url
    hops: tuple[Mapping[str, str], ...] = ()

    def json(self) -> Any:
        return load_json(self.body, file=f"the answer of {self.url.place}")

    def expect(self, *accepted: int, what: str, login: str = "") -> Self:
        """This answer, if its status is one of `accepted`; else the error for it.

        `login` is what `modelshelf login` takes for this host, where it takes anything.
        """
        host = self.url.place
        detail = self._detail()
        match self.status:
            case status if status in accepted:
                return self
            case 401 | 403:
                if login:
                    raise LoginNeeded(host=host, what=what, status=self.status, detail=detail, login=login)
                raise AccessDenied(host=host, what=what, status=self.status, detail=detail)
            case 404 | 410:
                raise NotFound(host=host, what=what, status=self.status)
            case 408 | 425 | 429 | 500 | 502 | 503 | 504:
                raise ServerTrouble(host=host, status=self.status, what=what, detail=detail)
        raise UnexpectedAnswer(host=host, what=what, reason=f"status {self.status}{detail}")

    def _detail(self) -> str:
        said = " ".join(self.headers.get("x-error-message", self.body.decode(errors="replace")).split())
        printable = "".join(letter for letter in said if letter.isprintable())
        return f": {printable[:200]}" if printable else ""


class Sink(Protocol):
    """Takes a body as it arrives. Raising in either method ends the transfer with that exception."""

    def head(self, status: int, headers: Mapping[str, str]) -> None:
        """The final hop's headers are here; called once for a status of 200 or 206, before the first byte."""

    def write(self, data: bytes) -> None:
        """The next bytes of the body, as sent."""


class Wire:
    """HTTP to one source: `trusted_hosts` are those that its block names beside the source's own."""

    def __init__(self, *, trusted_hosts: frozenset[str] = frozenset(), limits: Limits = DEFAULT) -> None:
        self._trusted = trusted_hosts
        self._limits = limits
        self._handles: deque[pycurl.Curl] = deque()

    def request(
        self,
        method: str,
        url: Url,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        authorization: Authorization | None = None,
        follow: bool = True,
        at_most: int | None = None,
        seconds: int | None = None,
        stop: StopToken | None = None,
    ) -> Answer:
        """A small answer, whole. `at_most` bounds its bytes, `seconds` the time of each hop."""
        call = _Call(method, dict(headers or {}), body, authorization, seconds or self._limits.api_seconds, stop, None)
        return self._follow(call, url, follow=follow, at_most=at_most or self._limits.api_body_bytes)

    def receive(
        self,
        url: Url,
        sink: Sink,
        *,
        at_most: int,
        headers: Mapping[str, str] | None = None,
        authorization: Authorization | None = None,
        stop: StopToken | None = None,
    ) -> Answer:
        """Pass a body of 200 or 206 to `sink`, at most `at_most` bytes of it; the answer's own body is then empty."""
        call = _Call("GET", dict(headers or {}), None, authorization, None, stop, sink)
        return self._follow(call, url, follow=True, at_most=at_most)

    def wait_if_busy(self, answer: Answer, stop: StopToken) -> bool:
        """Wait as long as a 429 or 503 asks us to; False for any other answer. Too long a wait raises TooBusy."""
        if answer.status not in (429, 503) or "retry-after" not in answer.headers:
            return False
        asked = answer.headers["retry-after"]
        seconds = int(asked) if re.fullmatch(r"[0-9]{1,9}", asked) else self._limits.retry_after_seconds
        if seconds > self._limits.retry_after_seconds:
            limit = self._limits.retry_after_seconds
            raise TooBusy(host=answer.url.place, status=answer.status, seconds=seconds, limit=limit)
        stop.wait(seconds)
        return True

    def _follow(self, call: _Call, url: Url, *, follow: bool, at_most: int) -> Answer:
        first = url
        hops: list[Mapping[str, str]] = []
        at_loopback = False
        for _ in range(self._limits.redirects + 1):
            guard = _Guard(first, url, self._trusted, at_loopback)
            guard.check_literal()
            answer, connected = self._hop(call, url, guard, at_most, first)
            hops.append(answer.headers)
            location = answer.headers.get("location")
            if not follow or answer.status not in (301, 302, 303, 307, 308) or not location:
                return Answer(answer.status, answer.headers, answer.body, url, tuple(hops))
            target = url.join(location)
            if url.scheme == "https" and target.scheme != "https":
                raise RedirectRefused(host=url.place, target=target, reason="it would leave https")
            if len(hops) == 1:
                at_loopback = connected is not None and connected.is_loopback
            url = target
        reason = f"it is the redirect number {self._limits.redirects + 1}"
        raise RedirectRefused(host=first.place, target=url, reason=reason)

    def _hop(
        self, call: _Call, url: Url, guard: _Guard, at_most: int, first: Url
    ) -> tuple[Answer, ipaddress.IPv4Address | ipaddress.IPv6Address | None]:
        receiver = _Receiver(call, url, at_most, self._limits)
        headers = [f"{name}: {value}" for name, value in {"Accept-Encoding": "identity", **call.headers}.items()]
        if call.authorization is not None and url.origin == first.origin:
            headers.append(f"Authorization: {call.authorization.value}")
        proxy = _proxy_for(url)
        with self._handle() as curl:
            curl.setopt(pycurl.URL, url.text)
            curl.setopt(pycurl.HTTPHEADER, [*headers, "Expect:"])
            curl.setopt(pycurl.PROXY, proxy)
            if not proxy:
                curl.setopt(pycurl.OPENSOCKETFUNCTION, guard.open_socket)
            if call.body is not None:
                curl.setopt(pycurl.POSTFIELDS, call.body)
            curl.setopt(pycurl.NOBODY, call.method == "HEAD")
            if call.method != "HEAD":
                curl.setopt(pycurl.CUSTOMREQUEST, call.method)
            if call.seconds is not None:
                curl.setopt(pycurl.TIMEOUT, call.seconds)
            curl.setopt(pycurl.HEADERFUNCTION, receiver.header)
            curl.setopt(pycurl.WRITEFUNCTION, receiver.write)
            curl.setopt(pycurl.XFERINFOFUNCTION, receiver.progress)
            try:
                curl.perform()
                receiver.end()
            except pycurl.error as error:
                if guard.refused is not None:
                    raise guard.refused from error
                if not receiver.heard_enough:
                    raise receiver.explain(error, self._limits) from error
            address = curl.getinfo(pycurl.PRIMARY_IP)
        answer = Answer(receiver.status, receiver.headers, bytes(receiver.body), url)
        return answer, _plain(ipaddress.ip_address(address)) if address and not proxy else None

    @contextmanager
    def _handle(self) -> Iterator[pycurl.Curl]:
        """A handle with its open connections, back in the pool afterwards; dropped if the transfer failed."""
        try:
            curl = self._handles.pop()
        except IndexError:
            curl = pycurl.Curl()
        try:
            curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
            curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1)
            curl.setopt(pycurl.CAINFO, os.environ.get("SSL_CERT_FILE") or certifi.where())
            curl.setopt(pycurl.NOSIGNAL, True)
            curl.setopt(pycurl.NOPROXY, "")
            curl.setopt(pycurl.CONNECTTIMEOUT, self._limits.connect_seconds)
            curl.setopt(pycurl.LOW_SPEED_LIMIT, self._limits.stall_bytes_per_second)
            curl.setopt(pycurl.LOW_SPEED_TIME, self._limits.stall_seconds)
            curl.setopt(pycurl.NOPROGRESS, False)
            curl.setopt(pycurl.BUFFERSIZE, 512 * 1024)
            yield curl
        except BaseException:
            curl.close()
            raise
        curl.reset()
        self._handles.append(curl)


@dataclass(frozen=True, slots=True)
class _Call:
    method: str
    headers: dict[str, str]
    body: bytes | None
    authorization: Authorization | None
    seconds: int | None
    stop: StopToken | None
    sink: Sink | None


class _Guard:
    """Decides whether a hop may connect to an address.

    The source's own host was named by the operator, at whatever address. A host that a server names is reached only at a
    public address, unless the source's block names it too, or the source itself is on loopback and so is the target.
    """

    def __init__(self, first: Url, url: Url, trusted: frozenset[str], first_at_loopback: bool) -> None:
        self._first, self._url = first, url
        self._anywhere = url.host == first.host or url.host in trusted or url.place in trusted
        self._loopback = first_at_loopback
        self.refused: RedirectRefused | None = None

    def check_literal(self) -> None:
        """An address in the URL itself is checked also where a proxy will connect."""
        try:
            address = ipaddress.ip_address(self._url.host)
        except ValueError:
            return
        if (reason := self._why_not(address)) is not None:
            raise RedirectRefused(host=self._first.place, target=self._url, reason=reason)

    def open_socket(self, _purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> socket.socket | int:
        family, kind, protocol, where = address
        if (reason := self._why_not(ipaddress.ip_address(where[0].partition("%")[0]))) is not None:
            self.refused = RedirectRefused(host=self._first.place, target=self._url, reason=reason)
            return int(pycurl.SOCKET_BAD)
        return socket.socket(family, kind, protocol)

    def _why_not(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str | None:
        address = _plain(address)
        public = address.is_global and not address.is_multicast
        if self._anywhere or public or (self._loopback and address.is_loopback):
            return None
        return f"{address} is inside a private network"


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """The IPv4 address that an IPv6 one stands for (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address in ipaddress.IPv6Network("64:ff9b::/96"):
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def _proxy_for(url: Url) -> str:
    """The proxy that the environment names for this address; empty for none."""
    import urllib.request  # brings `email` and `ssl` along, and a command that only reads needs no network

    proxies = urllib.request.getproxies_environment()
    if urllib.request.proxy_bypass_environment(f"{url.host}:{url.port}", proxies):  # type: ignore[attr-defined]
        return ""
    return str(proxies.get(url.scheme) or proxies.get("all") or "")


def _how(url: Url) -> str:
    """What a person may have to set when nothing answers there; nothing for an address on this machine."""
    if proxy := _proxy_for(url):
        return f" through the proxy {urlsplit(proxy).hostname}"
    local = url.host == "localhost" or url.host.startswith("127.") or url.host == "::1"
    return "" if local else f" directly (no proxy is set for it: {url.scheme.upper()}_PROXY)"


class _Receiver:
    """What one hop sends, kept within limits. An exception cannot pass through libcurl: it is kept and raised after."""

    def __init__(self, call: _Call, url: Url, at_most: int, limits: Limits) -> None:
        self._call, self._url, self._at_most, self._limits = call, url, at_most, limits
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self._header_bytes = 0
        self._received = 0
        self._streaming: bool | None = None
        self._failure: BaseException | None = None
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
        code, message = error.args[0], str(error.args[1])
        if self._failure is not None:
            return self._failure
        if self._call.stop is not None and self._call.stop.is_set():
            return Stopped()
        host = self._url.place
        slow = code == pycurl.E_OPERATION_TIMEDOUT and self.status != 0
        if slow:
            return Stalled(host=host, rate=limits.stall_bytes_per_second, seconds=limits.stall_seconds)
        if code in (pycurl.E_PEER_FAILED_VERIFICATION, pycurl.E_SSL_CACERT_BADFILE):
            return CertificateRefused(host=host, reason=message)
        if code in (pycurl.E_PARTIAL_FILE, pycurl.E_RECV_ERROR, pycurl.E_GOT_NOTHING, pycurl.E_SEND_ERROR):
            expected = self.headers.get("content-length", "?")
            return ConnectionCut(host=host, found=self._received, expected=expected, what=self._url)
        if code in (pycurl.E_UNSUPPORTED_PROTOCOL, pycurl.E_URL_MALFORMAT, pycurl.E_FTP_WEIRD_SERVER_REPLY):
            return UnexpectedAnswer(host=host, what=self._url, reason=message)
        return Unreachable(host=host, how=_how(self._url), reason=message)

    def _kept(self, take: Callable[[bytes], None], data: bytes) -> int | None:
        try:
            take(data)
        except BaseException as error:  # noqa: BLE001 - raised again by explain(), on the other side of libcurl
            self._failure = error
            return -1
        return -1 if self.heard_enough else None

    def _header(self, line: bytes) -> None:
        self._header_bytes += len(line)
        if self._header_bytes > self._limits.response_header_bytes or len(self.headers) > self._limits.response_headers:
            found = f"{self._header_bytes} bytes, {len(self.headers)} lines"
            limit = f"{self._limits.response_header_bytes} bytes in {self._limits.response_headers} lines"
            raise LimitExceeded(what=f"the header that {self._url.place} sends", found=found, limit=limit)
        text = line.decode("latin-1").strip()
        if text.startswith("HTTP/"):
            self.status = int(text.split()[1])
            self.headers = {}
        elif ":" in text:
            name, _, value = text.partition(":")
            self.headers[name.strip().lower()] = value.strip()

    def _begin_body(self) -> None:
        if self._streaming is not None:
            return
        self._streaming = self._call.sink is not None and self.status in (200, 206)
        if self._streaming and self._call.sink is not None:
            encoding = self.headers.get("content-encoding", "identity")
            if encoding not in ("", "identity"):
                reason = f"it is {encoding}-encoded although we asked for the file as it is"
                raise UnexpectedAnswer(host=self._url.place, what=self._url, reason=reason)
            self._call.sink.head(self.status, self.headers)

    def _write(self, data: bytes) -> None:
        if self._call.stop is not None:
            self._call.stop.check()
        self._begin_body()
        if self._streaming and self._call.sink is not None:
            self._received += len(data)
            if self._received > self._at_most:
                what = f"what {self._url.place} sends for {self._url}"
                raise LimitExceeded(what=what, found=f"more than {self._at_most} bytes", limit=self._at_most)
            self._call.sink.write(data)
            return
        if self.status >= 400:
            self.body += data[: self._limits.error_body_bytes - len(self.body)]
            self.heard_enough = len(self.body) >= self._limits.error_body_bytes
        elif len(self.body) + len(data) > self._at_most:
            what = f"what {self._url.place} sends for {self._url}"
            raise LimitExceeded(what=what, found=f"more than {self._at_most} bytes", limit=self._at_most)
        else:
            self.body += data


def json_body(value: object) -> bytes:
    return json.dumps(value).encode()
