"""Tokens for registries. Source: OCI distribution specification and its token authentication ("Bearer realm=…")."""

from __future__ import annotations

import base64
import re
from urllib.parse import urlencode

from modelshelf.errors import UnexpectedAnswer
from modelshelf.stop import StopToken
from modelshelf.wire import Answer, Authorization, Url, Wire


class RegistryLogin:
    """Credentials for one registry, exchanged for a token where it asks for one.

    A realm on a host that the registry's block does not name gets no credentials: it may hand out a token to anyone who
    asks, as public registries do, and no more.
    """

    def __init__(self, wire: Wire, registry: Url, *, user: str, secret: str, trusted_hosts: frozenset[str]) -> None:
        self._wire, self._registry, self._trusted = wire, registry, trusted_hosts
        basic = base64.b64encode(f"{user}:{secret}".encode()).decode()
        self._basic = Authorization(f"Basic {basic}") if secret else None
        self.current: Authorization | None = None

    def answer_challenge(self, answer: Answer, stop: StopToken) -> bool:
        """Get what a 401 asks for; False if there is nothing more that we could offer."""
        challenge = answer.headers.get("www-authenticate", "")
        if answer.status != 401 or answer.url.origin != self._registry.origin:
            return False
        before = self.current
        if challenge.lower().startswith("basic"):
            self.current = self._basic
        elif challenge.lower().startswith("bearer"):
            self.current = self._token(dict(re.findall(r'([a-zA-Z_]+)="([^"\\]*)"', challenge)), stop)
        return self.current is not None and self.current != before

    def _token(self, fields: dict[str, str], stop: StopToken) -> Authorization | None:
        realm = Url(fields.get("realm", ""))
        if self._registry.scheme == "https" and realm.scheme != "https":
            return None
        query = urlencode([(name, fields[name]) for name in ("service", "scope") if name in fields])
        url = Url(f"{realm.text}{'&' if '?' in realm.text else '?'}{query}") if query else realm
        known = realm.host == self._registry.host or realm.host in self._trusted or realm.place in self._trusted
        wire = self._wire if known else Wire()
        answer = wire.request("GET", url, authorization=self._basic if known else None, stop=stop)
        if answer.status != 200:
            return None
        match answer.json():
            case {"token": str(token)} | {"access_token": str(token)}:
                return Authorization.bearer(token)
        raise UnexpectedAnswer(host=realm.place, what="a token", reason="there is none in its answer")
