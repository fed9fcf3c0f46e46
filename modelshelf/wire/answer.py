"""What was answered, and who is asked when it was a 401."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

from modelshelf.errors import AccessDenied, LoginNeeded, NotFound, ServerTrouble, UnexpectedAnswer
from modelshelf.stop import StopToken
from modelshelf.strict_json import load_json
from modelshelf.wire.url import Authorization, Url


@dataclass(frozen=True, slots=True)
class Answer:
    """What the last hop answered. `url` is where that was, `hops` every answer's headers in order, the last included.

    `source` is the address that the operator named, and `at_loopback` whether it was reached there: they decide what an address
    that this answer names may be (`Wire.request(named_by=…)`).
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: Url
    hops: tuple[Mapping[str, str], ...] = ()
    source: Url | None = None
    at_loopback: bool = False

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

    def without(self, shown: Authorization) -> Self:
        """A redirect or an error less the secret that was shown (some servers repeat what they were sent); else this answer."""
        if self.status < 300:
            return self
        headers, body = dict(self.headers), self.body
        for secret in shown.secrets:
            headers = {name: value.replace(secret, "(secret)") for name, value in headers.items()}
            body = body.replace(secret.encode(), b"(secret)")
        return replace(self, headers=headers, body=body)

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


class Login(Protocol):
    """What a source's own origin is shown, and how to get something else to show when that is not taken any more."""

    @property
    def current(self) -> Authorization | None:
        """What to show now; None if nothing was asked for yet."""

    def renew(self, answer: Answer, shown: Authorization | None, stop: StopToken) -> bool:
        """Answer the challenge of a 401 to `shown`; True if `current` is something else now.

        Many threads may ask at once: one of them gets the new token, the others find it.
        """
