"""One login for one registry: no other host is ever given its password."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from blocks.ollama_registry import OllamaRegistry
from modelshelf.errors import BadName, LoginNotUsed, RedirectInside, RedirectRefused, outcome
from modelshelf.names import HostName
from modelshelf.sources.logins import block_name, earlier_block_name, origin_of, trusting
from modelshelf.sources.uri import OllamaName, OllamaUri, parse_source
from tasks import sources
from tasks.sources import OllamaOrigin

HOSTS = st.from_regex(HostName.pattern, fullmatch=True).filter(lambda text: ".." not in text and text.isascii())
CLOSE = st.from_regex(r"[ab](?:[-.:ab]{0,6}[ab])?", fullmatch=True).filter(
    lambda text: ".." not in text and HostName.pattern.fullmatch(text) is not None
)


@given(st.one_of(HOSTS, CLOSE), st.one_of(HOSTS, CLOSE))
def test_two_hosts_have_two_names(first: str, second: str) -> None:
    if first.lower() != second.lower():
        assert block_name(HostName(first)) != block_name(HostName(second))


@given(HOSTS)
def test_the_name_is_one_that_a_block_may_have(host: str) -> None:
    assert re.fullmatch(r"[a-z0-9-]+", block_name(HostName(host)))


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("registry.ollama.ai", "registry-ollama-ai"),
        ("a-b.example", "a--db-example"),
        ("127.0.0.1:5000", "127-0-0-1--p5000"),
        ("[::1]:5000", "--l--p--p1--r--p5000"),
        ("Registry.Example", "registry-example"),
    ],
)
def test_the_name_is_one_that_a_person_finds_again(host: str, name: str) -> None:
    assert block_name(HostName(host)) == name


def test_a_host_with_two_dots_in_a_row_has_no_name() -> None:
    with pytest.raises(BadName):
        block_name(HostName("a..b"))


# --- which block is used ------------------------------------------------------------------------------------------


def used(monkeypatch: pytest.MonkeyPatch, host: str, stored: dict[str, OllamaRegistry]) -> OllamaRegistry | None:
    async def load(_kind: object, name: str) -> OllamaRegistry | None:
        return stored.get(name)

    monkeypatch.setattr(sources, "_load", load)
    return asyncio.run(OllamaOrigin(OllamaUri(OllamaName.parse(f"{host}/library/tiny:1b")))._block())


def block(origin: str = "", *, plain_http: bool = False) -> OllamaRegistry:
    return OllamaRegistry(origin=origin, plain_http=plain_http, user="me", secret=SecretStr("canary"))


def test_a_host_is_not_given_the_password_of_a_host_that_is_written_almost_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = {block_name(HostName("a.b.example")): block("https://a.b.example")}
    assert used(monkeypatch, "a-b.example", stored) is None
    assert used(monkeypatch, "a.b-example", stored) is None
    assert used(monkeypatch, "a.b.example", stored) is not None


def test_an_earlier_login_that_may_be_anothers_is_not_used_and_the_login_to_repeat_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for host in ("a.b.example", "a-b.example", "127.0.0.1:5000"):
        stored = {earlier_block_name(HostName(host)): block()}
        with pytest.raises(LoginNotUsed, match=re.escape(f"`modelshelf login ollama {host}`")):
            used(monkeypatch, host, stored)


def test_an_earlier_login_that_can_be_no_others_goes_on_working(monkeypatch: pytest.MonkeyPatch) -> None:
    assert used(monkeypatch, "localhost", {"localhost": block()}) is not None


def test_a_login_for_https_is_not_used_over_http_and_at_no_other_port(monkeypatch: pytest.MonkeyPatch) -> None:
    name = block_name(HostName("a.example"))
    with pytest.raises(LoginNotUsed, match=r"it is for https://a\.example"):
        used(monkeypatch, "a.example", {name: block("https://a.example", plain_http=True)})
    with pytest.raises(LoginNotUsed):
        used(monkeypatch, "a.example", {name: block("https://a.example:8443")})
    assert used(monkeypatch, "a.example", {name: block("https://a.example:443")}) is not None


def test_the_address_is_recorded_as_it_is_asked() -> None:
    assert origin_of(HostName("A.example:5000"), plain_http=True) == "http://a.example:5000"


@pytest.mark.parametrize(
    ("source", "host", "target", "command"),
    [
        (
            "ollama://registry.example/library/x:1", "registry.example", "https://cdn.inside:8443/b",
            "modelshelf login ollama registry.example --no-secret --redirect-host cdn.inside:8443",
        ),
        (
            "ollama://10.0.0.1:5000/library/x:1", "10.0.0.1:5000", "http://10.0.0.2/b",
            "modelshelf login ollama 10.0.0.1:5000 --http --no-secret --redirect-host 10.0.0.2",
        ),
        ("hf://org/x", "huggingface.co", "https://10.0.0.2/b", "modelshelf login huggingface --no-secret --redirect-host 10.0.0.2"),
        (
            "hf://org/x", "hub.example", "https://10.0.0.2/b",
            "modelshelf login huggingface --endpoint https://hub.example --no-secret --redirect-host 10.0.0.2",
        ),
    ],
)  # fmt: skip
def test_a_source_that_redirects_inside_comes_with_the_login_that_trusts_the_target(
    source: str, host: str, target: str, command: str
) -> None:
    with pytest.raises(RedirectInside) as refused, outcome("Nothing was published."), trusting(parse_source(source)):
        raise RedirectInside(host=host, target=target, reason="it is in a private network")
    assert f"`{command}`" in str(refused.value)
    assert "Nothing was published." in str(refused.value)


@pytest.mark.parametrize("kind", [RedirectInside, RedirectRefused])
def test_a_redirect_of_what_has_no_login_is_not_answered_with_one(kind: type[RedirectRefused]) -> None:
    with pytest.raises(RedirectRefused) as refused, trusting(None):
        raise kind(host="127.0.0.1:8080", target="http://10.0.0.2/", reason="it is in a private network")
    assert "log" not in str(refused.value).replace("127.0.0.1", "")
    with pytest.raises(RedirectRefused) as refused, trusting(parse_source("hf://org/x")):
        raise RedirectRefused(host="hub.example", target="http://hub.example/", reason="it would leave https")
    assert "login" not in str(refused.value), "no trust helps here"
