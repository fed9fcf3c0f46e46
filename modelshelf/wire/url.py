"""Addresses, and what is shown to them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import urljoin, urlsplit

from modelshelf.errors import BadSetting, UnexpectedAnswer

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

    def __post_init__(self) -> None:
        if re.fullmatch(r"[ -~]+", self.value) is None:
            raise BadSetting(where="a stored secret", reason="it has a character in it that no header may have")

    @classmethod
    def bearer(cls, token: str) -> Self:
        return cls(f"Bearer {token}")
