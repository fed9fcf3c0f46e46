"""Tokens of registries: which challenge is answered, who is asked, what is shown to whom, and what an answer may be."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from modelshelf.digest import Digest
from modelshelf.errors import BadJson, LimitExceeded, LoginNeeded, ModelshelfError, NoAnswer, RedirectRefused, UnexpectedAnswer
from modelshelf.sources.bearer import RegistryLogin
from modelshelf.sources.fetch import fetch_blob
from modelshelf.stop import StopToken
from modelshelf.store.directory import DirectoryStore
from modelshelf.transfer.contract import Downloads
from modelshelf.wire import Answer, Authorization, Url, Wire
from tests.making import SMALL, gguf, ollama_source
from tests.stand_ins.http import StandIn
from tests.stand_ins.ollama_registry import OllamaRegistry

WEIGHTS = gguf(500_000)
STOP = StopToken()


class TokenService(StandIn):
    """Gives `answer` to everyone; `/hop` sends on to `target`."""

    body = b'{"token":"t"}'
    target = ""
    seconds = 0.0

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path.startswith("/hop"):
            return self.send(request, 307, b"", Location=self.target)
        if self.seconds:
            self.faults.released.wait(self.seconds)
        return self.send(request, 200, self.body)

    def shown(self) -> list[str | None]:
        return [headers.get("Authorization") for _, _, headers in self.requests]


@pytest.fixture
def service() -> Iterator[TokenService]:
    with TokenService() as running:
        yield running


@pytest.fixture
def tiny(registry: OllamaRegistry) -> OllamaRegistry:
    registry.redirect_blobs = False
    registry.add_model("library/tiny", "1b", WEIGHTS)
    registry.token, registry.password = "first", "me:pw"
    return registry


def fetch(registry: OllamaRegistry, folder: Path, login: bool = True) -> Digest:
    source = ollama_source(registry, user="me", secret="pw")
    listing = source.list_files(source.pin(STOP), STOP)
    weights = max(listing.files, key=lambda file: file.size)
    downloads = Downloads(source.wire, stop=StopToken(), on_bytes=lambda _: None, login=source.login, limits=SMALL)
    return fetch_blob(DirectoryStore(folder), downloads, weights.wanted, SMALL)[0].digest


def challenged(registry: StandIn, *lines: str) -> Answer:
    """What a registry answers that asks for this, as the wire reads it."""
    return Answer(401, {"www-authenticate": ", ".join(lines)}, b"", Url(f"{registry.url}/v2/x"), at_loopback=True)


def login_of(registry: StandIn, trusted: frozenset[str] = frozenset(), limits: object = SMALL) -> RegistryLogin:
    wire = Wire(trusted_hosts=trusted, limits=limits)  # type: ignore[arg-type]
    return RegistryLogin(wire, Url(registry.url), user="me", secret="pw", trusted_hosts=trusted, limits=limits)  # type: ignore[arg-type]


# --- expiry -------------------------------------------------------------------------------------------------------


def test_a_token_that_expires_during_a_download_is_renewed_and_the_part_goes_on(tiny: OllamaRegistry, tmp_path: Path) -> None:
    tiny.token_uses = 4
    assert fetch(tiny, tmp_path) == Digest.of(WEIGHTS)
    assert tiny.asked("/token") >= 2
    assert tiny.body_bytes == len(WEIGHTS)


def test_many_threads_at_once_ask_for_one_new_token(tiny: OllamaRegistry) -> None:
    login = login_of(tiny)
    answer = challenged(tiny, f'Bearer realm="{tiny.url}/token"')
    assert login.renew(answer, None, STOP)
    old = login.current
    tiny.token = "second"
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: login.renew(answer, old, STOP), range(8))) == [True] * 8
    assert tiny.asked("/token") == 2
    assert login.current is not None
    assert login.current.value == "Bearer second"


def test_a_token_that_is_never_taken_ends_in_a_refusal_and_not_in_a_loop(tiny: OllamaRegistry, tmp_path: Path) -> None:
    source = ollama_source(tiny, user="me", secret="pw")
    listing = source.list_files(source.pin(STOP), STOP)
    tiny.token_uses = 0
    asked = len(tiny.requests)
    downloads = Downloads(source.wire, stop=StopToken(), on_bytes=lambda _: None, login=source.login, limits=SMALL)
    with pytest.raises(LoginNeeded, match=f"modelshelf login ollama {tiny.host}"):
        fetch_blob(DirectoryStore(tmp_path), downloads, listing.files[1].wanted, SMALL)
    assert len(tiny.requests) - asked == 5  # the part, and twice a token and the part again


def test_a_short_token_is_not_looked_for_in_the_next_challenge(tiny: OllamaRegistry, service: TokenService) -> None:
    """`t` is in every address: with it taken out, the token service of the next challenge would be another one."""
    tiny.challenges = [f'Bearer realm="{service.url}/get-token",scope="repository:library/tiny:pull"']
    with pytest.raises(LoginNeeded):
        ollama_source(tiny).pin(STOP)
    assert {path for _, path, _ in service.requests} == {"/get-token?scope=repository%3Alibrary%2Ftiny%3Apull"}


# --- several challenges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        ["Negotiate", 'Bearer realm="{url}/token",service="stand-in"'],
        ['Basic realm="x", Bearer realm="{url}/token"'],
        ['Bearer realm="{url}/token", Basic realm="x"'],
        ['Digest nonce="a,\\"b", Bearer realm="{url}/token"'],
        ['Bearer realm="http://10.0.0.1/token"', 'Bearer realm="{url}/token"'],
        ['Bearer error="invalid"', 'Bearer realm="{url}/token"'],
    ],
    ids=str,
)
def test_of_several_challenges_one_that_can_be_answered_is(tiny: OllamaRegistry, lines: list[str]) -> None:
    tiny.challenges = [line.replace("{url}", tiny.url) for line in lines]
    assert ollama_source(tiny, user="me", secret="pw").pin(STOP).resolved


def test_where_no_token_is_given_the_password_answers_a_basic_challenge(tiny: OllamaRegistry) -> None:
    tiny.password = "another:one"
    login = login_of(tiny)
    assert login.renew(challenged(tiny, f'Bearer realm="{tiny.url}/token"', 'Basic realm="x"'), None, STOP)
    assert login.current is not None
    assert login.current.value.startswith("Basic ")


def test_a_challenge_of_an_unknown_scheme_is_answered_with_nothing(tiny: OllamaRegistry) -> None:
    login = login_of(tiny)
    assert not login.renew(challenged(tiny, "Negotiate abc==, Hawk"), None, STOP)
    assert tiny.requests == []


# --- whose realm it is --------------------------------------------------------------------------------------------

INSIDE = ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://[fd00::1]/", "http://[::ffff:10.0.0.1]/"]


@pytest.mark.parametrize("realm", INSIDE)
def test_a_realm_inside_our_network_is_not_asked(tiny: OllamaRegistry, realm: str) -> None:
    login = login_of(tiny)
    with pytest.raises(RedirectRefused, match="private network"):
        login.renew(challenged(tiny, f'Bearer realm="{realm}"'), None, STOP)
    assert login.current is None


def test_a_realm_that_sends_us_inside_is_not_followed(tiny: OllamaRegistry, service: TokenService) -> None:
    service.target = INSIDE[0]
    with pytest.raises(RedirectRefused, match="private network"):
        login_of(tiny).renew(challenged(tiny, f'Bearer realm="{service.url}/hop"'), None, STOP)


def test_from_a_registry_that_is_not_on_loopback_a_realm_on_loopback_is_not_asked(
    tiny: OllamaRegistry, service: TokenService
) -> None:
    """The registry is a public one; the realm is a service of this machine, by address and by name."""
    answer = replace(challenged(tiny), url=Url("http://registry.example/v2/x"), at_loopback=False)
    for host in ("127.0.0.1", "localhost"):
        login = RegistryLogin(Wire(limits=SMALL), Url("http://registry.example/"), user="", secret="", trusted_hosts=frozenset())
        bearer = {"www-authenticate": f'Bearer realm="http://{host}:{service.port}/"'}
        with pytest.raises(RedirectRefused, match="private network"):
            login.renew(replace(answer, headers=bearer), None, STOP)
    assert service.requests == []


def test_an_https_registry_does_not_have_us_ask_for_a_token_in_the_clear() -> None:
    registry = Url("https://registry.example/")
    login = RegistryLogin(Wire(limits=SMALL), registry, user="me", secret="pw", trusted_hosts=frozenset())
    answer = Answer(401, {"www-authenticate": 'Bearer realm="http://registry.example/token"'}, b"", registry)
    with pytest.raises(RedirectRefused, match="leave https"):
        login.renew(answer, None, STOP)


def test_a_realm_on_another_port_of_the_host_gets_no_password(tiny: OllamaRegistry, service: TokenService) -> None:
    assert login_of(tiny).renew(challenged(tiny, f'Bearer realm="{service.url}/t"'), None, STOP)
    assert service.shown() == [None]


def test_a_realm_that_the_block_names_gets_the_password(tiny: OllamaRegistry, service: TokenService) -> None:
    login_of(tiny, frozenset({service.host})).renew(challenged(tiny, f'Bearer realm="{service.url}/t"'), None, STOP)
    assert str(service.shown()[0]).startswith("Basic ")


def test_a_realm_whose_host_the_block_names_at_another_port_gets_none(tiny: OllamaRegistry, service: TokenService) -> None:
    login_of(tiny, frozenset({"127.0.0.1"})).renew(challenged(tiny, f'Bearer realm="{service.url}/t"'), None, STOP)
    assert service.shown() == [None]


def test_a_realm_that_redirects_passes_no_password_on(tiny: OllamaRegistry, service: TokenService) -> None:
    with TokenService() as other:
        service.target = f"{other.url}/t"
        login_of(tiny, frozenset({service.host})).renew(challenged(tiny, f'Bearer realm="{service.url}/hop"'), None, STOP)
        assert str(service.shown()[0]).startswith("Basic ")
        assert other.shown() == [None]


def test_a_server_that_repeats_what_it_was_shown_has_no_secret_in_our_messages(tiny: OllamaRegistry) -> None:
    class Repeating(StandIn):
        status = 500

        def answer(self, request: BaseHTTPRequestHandler) -> None:
            body = b"me:canary-word and canary-word and " + request.headers["Authorization"].encode()
            self.send(request, self.status, body, Location="http://10.0.0.1/canary-word")

    with Repeating() as server:
        basic = Authorization("Basic " + base64.b64encode(b"me:canary-word").decode())
        answer = Wire(limits=SMALL).request("GET", Url(server.url), authorization=basic)
        assert (b"canary" in answer.body, basic.secrets[0].encode() in answer.body) == (False, False)
        server.status = 302
        with pytest.raises(RedirectRefused) as caught:
            Wire(limits=SMALL).request("GET", Url(server.url), authorization=basic)
        assert "canary" not in str(caught.value)


# --- what it answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"token":"a"}', "Bearer a"),
        (b'{"access_token":"b"}', "Bearer b"),
        (b'{"token":"a","access_token":"b"}', "Bearer a"),
        (b'{"token":"","access_token":"b"}', "Bearer b"),
    ],
)
def test_a_token_is_taken_under_both_of_its_names(tiny: OllamaRegistry, service: TokenService, body: bytes, value: str) -> None:
    service.body = body
    login = login_of(tiny)
    assert login.renew(challenged(tiny, f'Bearer realm="{service.url}"'), None, STOP)
    assert login.current is not None
    assert login.current.value == value


REFUSED: list[tuple[bytes, type[ModelshelfError]]] = [
    (b"<html>", BadJson),
    (b"[]", UnexpectedAnswer),
    (b'{"token":7}', UnexpectedAnswer),
    (b'{"token":""}', UnexpectedAnswer),
    (b'{"token":"a","token":"b"}', BadJson),
    (json.dumps({"token": "a\r\nX-Evil: 1"}).encode(), UnexpectedAnswer),
    (json.dumps({"token": "a b"}).encode(), UnexpectedAnswer),
    (json.dumps({"token": "ä"}).encode(), UnexpectedAnswer),
    (json.dumps({"token": "a" * 70_000}).encode(), LimitExceeded),
]


@pytest.mark.parametrize(("body", "error"), REFUSED, ids=lambda value: repr(value)[:40])
def test_a_token_answer_that_is_none_is_refused(
    tiny: OllamaRegistry, service: TokenService, body: bytes, error: type[ModelshelfError]
) -> None:
    service.body = body
    login = login_of(tiny)
    with pytest.raises(error):
        login.renew(challenged(tiny, f'Bearer realm="{service.url}"'), None, STOP)
    assert login.current is None


def test_a_token_service_that_does_not_answer_is_given_up(tiny: OllamaRegistry, service: TokenService) -> None:
    service.seconds = 30
    began = time.monotonic()
    with pytest.raises(NoAnswer, match="within 1 s"):
        login_of(tiny, limits=replace(SMALL, api_seconds=1)).renew(challenged(tiny, f'Bearer realm="{service.url}"'), None, STOP)
    assert time.monotonic() - began < 10
