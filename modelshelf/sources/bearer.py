"""Tokens for registries. Source: OCI distribution specification and its token authentication ("Bearer realm=…")."""

from __future__ import annotations

import base64
import re
import threading
from urllib.parse import urlencode

from modelshelf.errors import RedirectRefused, UnexpectedAnswer
from modelshelf.limits import DEFAULT, Limits
from modelshelf.stop import StopToken
from modelshelf.wire import Answer, Authorization, Url, Wire
from modelshelf.wire.challenges import Challenge, parse


class RegistryLogin:
    """Credentials for one registry, exchanged for a token where it asks for one, and again when the token has expired.

    A realm gets them if it is of the registry's own origin, or if the registry's block names its host: by `host`, or by
    `host:port` where the port is not the scheme's own. Any other realm may hand out a token to anyone who asks, as public
    registries do, and no more. It is held to what a redirect may be, so that no registry can have an address inside our network
    asked for it and the answer carried out.
    """

    def __init__(
        self, wire: Wire, registry: Url, *, user: str, secret: str, trusted_hosts: frozenset[str], limits: Limits = DEFAULT
    ) -> None:
        self._wire, self._registry, self._limits = wire, registry, limits
        self._trusted = frozenset(host.lower() for host in trusted_hosts)
        basic = base64.b64encode(f"{user}:{secret}".encode()).decode()
        self._basic = Authorization(f"Basic {basic}") if secret else None
        self._current: Authorization | None = None
        self._renewing = threading.Lock()

    @property
    def current(self) -> Authorization | None:
        return self._current

    def renew(self, answer: Answer, shown: Authorization | None, stop: StopToken) -> bool:
        if answer.status != 401 or answer.url.origin != self._registry.origin:
            return False
        with self._renewing:
            if self._current is not None and self._current != shown:
                return True  # another thread was quicker
            found = self._answer_one(parse(answer.headers.get("www-authenticate", "")), answer, shown, stop)
            if found is not None:
                self._current = found
            return found is not None

    def _answer_one(
        self, challenges: list[Challenge], answer: Answer, shown: Authorization | None, stop: StopToken
    ) -> Authorization | None:
        """What answers the first challenge that can be answered with something new: a token is preferred to the password."""
        refused: RedirectRefused | UnexpectedAnswer | None = None
        for challenge in sorted(challenges, key=lambda challenge: challenge.scheme != "bearer"):
            try:
                found = self._basic if challenge.scheme == "basic" else self._token(challenge, answer, stop)
            except (RedirectRefused, UnexpectedAnswer) as error:
                refused = refused or error
                continue
            if found is not None and found != shown:
                return found
        if refused is not None:
            raise refused
        return None

    def _token(self, challenge: Challenge, answer: Answer, stop: StopToken) -> Authorization | None:
        fields = challenge.parameters
        if challenge.scheme != "bearer" or "realm" not in fields:
            return None
        realm = Url(fields["realm"])
        query = urlencode([(name, fields[name]) for name in ("service", "scope") if name in fields])
        url = Url(f"{realm.text}{'&' if '?' in realm.text else '?'}{query}") if query else realm
        known = realm.origin == self._registry.origin or realm.place in self._trusted
        given = self._wire.request(
            "GET",
            url,
            authorization=self._basic if known else None,
            named_by=answer,
            at_most=self._limits.token_bytes,
            stop=stop,
        )
        if given.status in (400, 401, 403, 404):
            return None
        match given.expect(200, what="a token").json():
            case {"token": str(token)} if token:
                pass
            case {"access_token": str(token)} if token:
                pass
            case _:
                raise UnexpectedAnswer(host=realm.place, what="a token", reason="the answer holds no token")
        if re.fullmatch(r"[!-~]+", token) is None:
            raise UnexpectedAnswer(host=realm.place, what="a token", reason="it has a blank or a control character in it")
        return Authorization.bearer(token)


class StaticLogin:
    """A token that its publisher gave once: it is shown, and there is no other."""

    def __init__(self, authorization: Authorization | None) -> None:
        self.current = authorization

    def renew(self, answer: Answer, shown: Authorization | None, stop: StopToken) -> bool:
        return False
