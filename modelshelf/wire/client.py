"""The HTTP client, over libcurl."""

from __future__ import annotations

import ipaddress
import json
import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace

import certifi
import pycurl

from modelshelf.errors import RedirectRefused, TooBusy, Unreachable
from modelshelf.limits import DEFAULT, Limits
from modelshelf.stop import StopToken
from modelshelf.wire import busy, proxies
from modelshelf.wire.answer import Answer, Login, Sink
from modelshelf.wire.guard import Address, Guard, is_public, plain
from modelshelf.wire.receiver import Call, Receiver
from modelshelf.wire.url import Authorization, Url


class Wire:
    """HTTP to one source: `trusted_hosts` are those that its block names beside the source's own.

    `most_seconds` bounds each hop of each request, whatever the request itself allows.
    """

    def __init__(
        self, *, trusted_hosts: frozenset[str] = frozenset(), limits: Limits = DEFAULT, most_seconds: int | None = None
    ) -> None:
        self._most_seconds = most_seconds
        self._trusted = frozenset(host.lower() for host in trusted_hosts)
        self._limits = limits
        self._handles: deque[pycurl.Curl] = deque()
        self._public: set[str] = set()
        """Sources that were reached at a public address."""

    def request(
        self,
        method: str,
        url: Url,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        authorization: Authorization | None = None,
        named_by: Answer | None = None,
        follow: bool = True,
        at_most: int | None = None,
        seconds: int | None = None,
        stop: StopToken | None = None,
    ) -> Answer:
        """A small answer, whole. `at_most` bounds its bytes, `seconds` the time of each hop.

        `named_by` is the answer in which a server named this address: it is held to what a redirect from there may be.
        """
        seconds = seconds or self._limits.api_seconds
        if self._most_seconds is not None:
            seconds = min(seconds, self._most_seconds)
        call = Call(method, dict(headers or {}), body, authorization, seconds, stop, None)
        return self._follow(call, url, named_by, follow=follow, at_most=at_most or self._limits.api_body_bytes)

    def ask(
        self, method: str, url: Url, *, login: Login | None, stop: StopToken, headers: Mapping[str, str] | None = None,
        named_by: Answer | None = None, follow: bool = True, at_most: int | None = None,
    ) -> Answer:  # fmt: skip
        """As `request`, but a busy server is waited for and a challenge is answered; the last answer is returned."""
        for _ in range(self._limits.attempts):
            shown = login.current if login is not None else None
            answer = self.request(
                method, url, headers=headers, authorization=shown, named_by=named_by, follow=follow, at_most=at_most, stop=stop
            )
            again = self.wait_if_busy(answer, stop)
            if not again and answer.status == 401 and login is not None:
                again = login.renew(answer, shown, stop)
            if not again:
                break
        return answer

    def receive(
        self,
        url: Url,
        sink: Sink,
        *,
        at_most: int,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        authorization: Authorization | None = None,
        stop: StopToken | None = None,
    ) -> Answer:
        """Pass a body of 200 or 206 to `sink`, at most `at_most` bytes of it; the answer's own body is then empty.

        A request with a `body` is a POST.
        """
        method = "GET" if body is None else "POST"
        call = Call(method, dict(headers or {}), body, authorization, None, stop, sink)
        return self._follow(call, url, None, follow=True, at_most=at_most)

    def wait_if_busy(self, answer: Answer, stop: StopToken) -> bool:
        """Wait as long as a 429 or 503 asks us to; False for any other answer. Too long a wait raises TooBusy."""
        if answer.status not in (429, 503) or (seconds := busy.seconds_asked(answer.headers)) is None:
            return False
        if seconds > self._limits.retry_after_seconds:
            limit = self._limits.retry_after_seconds
            raise TooBusy(host=answer.url.place, status=answer.status, seconds=seconds, limit=limit)
        stop.wait(seconds)
        return True

    def _follow(self, call: Call, url: Url, named_by: Answer | None, *, follow: bool, at_most: int) -> Answer:
        first, before = url, named_by.url if named_by is not None else url
        source = (named_by.source or named_by.url) if named_by is not None else url
        at_loopback = named_by is not None and named_by.at_loopback
        hops: list[Mapping[str, str]] = []
        own = True
        for _ in range(self._limits.redirects + 1):
            guard = Guard(source, url, self._trusted, at_loopback, self._public)
            guard.check_scheme(before)
            guard.check_literal()
            own = own and url.origin == first.origin  # for good: where others send us is not asked with our login
            answer, connected = self._hop(call if own else replace(call, authorization=None), url, guard, at_most)
            hops.append(answer.headers)
            if connected is not None and url.host == source.host:
                at_loopback = at_loopback or (url is source and connected.is_loopback)
                if is_public(connected):
                    self._public.add(url.host)
            location = answer.headers.get("location")
            if not follow or answer.status not in (301, 302, 303, 307, 308) or not location:
                return replace(answer, hops=tuple(hops), source=source, at_loopback=at_loopback)
            before, url = url, url.join(location)
            if call.body is not None and url.origin != first.origin:
                raise RedirectRefused(
                    host=before.place, target=url, reason="the content that we send may go to its own origin only"
                )
        reason = f"it is redirect number {self._limits.redirects + 1}"
        raise RedirectRefused(host=first.place, target=url, reason=reason)

    def _hop(self, call: Call, url: Url, guard: Guard, at_most: int) -> tuple[Answer, Address | None]:
        receiver = Receiver(call, url, at_most, self._limits)
        headers = [f"{name}: {value}" for name, value in {"Accept-Encoding": "identity", **call.headers}.items()]
        shown = call.authorization
        if shown is not None:
            headers.append(f"Authorization: {shown.value}")
        proxy = proxies.proxy_for(url)
        with self._handle() as curl, closing(guard):
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
                if proxy and (status := curl.getinfo(pycurl.HTTP_CONNECTCODE)) >= 300:
                    raise self._proxy_trouble(url, status) from None
                if not receiver.heard_enough:
                    receiver.connected = curl.getinfo(pycurl.CONNECT_TIME) > 0
                    raise receiver.explain(error, self._limits) from None  # libcurl's own words repeat a proxy's login
            address = curl.getinfo(pycurl.PRIMARY_IP)
        if proxy and receiver.status == 407:
            raise self._proxy_trouble(url, receiver.status)
        answer = Answer(receiver.status, receiver.headers, bytes(receiver.body), url)
        answer = answer if shown is None else answer.without(shown)
        return answer, plain(ipaddress.ip_address(address)) if address and not proxy else None

    def _proxy_trouble(self, url: Url, status: int) -> Unreachable:
        asks = "the proxy asks for a login, or for another one" if status == 407 else "the proxy refuses the connection"
        return Unreachable(host=url.place, how=proxies.how(url), reason=f"{asks} (status {status})")

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


def json_body(value: object) -> bytes:
    return json.dumps(value).encode()
