"""Addresses, and what is shown to them."""

from __future__ import annotations

import base64
import ipaddress
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urljoin, urlsplit

from modelshelf.errors import BadSetting, UnexpectedAnswer

_PORTS = {"http": 80, "https": 443}
_TELLING = 8
"""Letters from which on a secret is looked for in an answer: a shorter one is in many words and addresses."""
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?\.?", re.ASCII)
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*", re.ASCII)
"""A last part that makes a host an IPv4 address for some readers, in whatever form. Source: URL standard, "ends in a number"."""


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https address without user, fragment, blank or control character.

    Its host is a name, or an address in its usual form: what libcurl or a proxy reads as another host than we do (`127.1`,
    `0x7f000001`, `%31%30.0.0.1`) is refused.
    """

    text: str
    scheme: str = field(init=False)
    host: str = field(init=False)
    port: int = field(init=False)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.text)
            port = parts.port
        except ValueError:  # its own words may repeat a password
            raise UnexpectedAnswer(host="the source", what="an address", reason=f"{_shown(self.text)!r} is not usable") from None
        good = re.fullmatch(r"[!-~]+", self.text) and parts.scheme in _PORTS and parts.username is None
        if not good or port == 0 or "\\" in self.text or not _is_host(parts.netloc, parts.hostname or ""):
            raise UnexpectedAnswer(host="the source", what="an address", reason=f"{_shown(self.text)!r} is not usable")
        object.__setattr__(self, "text", self.text.partition("#")[0])
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
        try:
            joined = urljoin(self.text, location)
        except ValueError:
            raise UnexpectedAnswer(host=self.place, what="an address", reason=f"{_shown(location)!r} is not usable") from None
        return type(self)(joined)

    def __str__(self) -> str:
        return self.text.partition("?")[0]


def _is_host(netloc: str, host: str) -> bool:
    bracketed = re.fullmatch(r"\[[^\[\]]*\](?::[0-9]*)?", netloc) is not None
    try:
        address = ipaddress.ip_address(host.removesuffix("."))
    except ValueError:
        last = host.removesuffix(".").rpartition(".")[2]
        return not bracketed and _NAME.fullmatch(host) is not None and _NUMBER.fullmatch(last) is None
    return bracketed == (address.version == 6) and "%" not in host


def _shown(text: str) -> str:
    """What a message may tell of an address that is none: no login and no query, either may hold a secret."""
    return re.sub(r"(//|^).*@", r"\1", text, flags=re.DOTALL).partition("?")[0][:100]


@dataclass(frozen=True, slots=True)
class Authorization:
    """The value of an Authorization header; shown nowhere."""

    value: str = field(repr=False)

    def __post_init__(self) -> None:
        if re.fullmatch(r"[ -~]+", self.value) is None:
            raise BadSetting(where="a stored secret", reason="it contains a character that a header may not contain")

    @property
    def secrets(self) -> list[str]:
        """What must not be repeated, the longest first: the value's secret, and what HTTP's "Basic" scheme wraps in it."""
        scheme, _, secret = self.value.rpartition(" ")
        login = base64.b64decode(secret).decode(errors="replace") if scheme == "Basic" else ""
        return [part for part in (secret, login, login.partition(":")[2]) if len(part) >= _TELLING]

    @classmethod
    def bearer(cls, token: str) -> Self:
        return cls(f"Bearer {token}")
