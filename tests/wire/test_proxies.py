"""Which requests go through a proxy. Loopback never does, and a proxy's password is in no message."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from modelshelf.errors import ModelshelfError, Unreachable
from modelshelf.wire import Url, Wire
from modelshelf.wire.proxies import for_children, passing_by, proxy_for, without_logins
from tests.making import SMALL
from tests.stand_ins.http import StandIn

LOGIN = "user:canary-pass"


class Proxy(StandIn):
    """Answers everything itself, or says what it thinks of the login."""

    status = 200

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.send(request, self.status, b"from the proxy")


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with Proxy() as running:
        yield running


@pytest.fixture
def server() -> Iterator[Proxy]:
    with Proxy("127.0.0.2") as running:
        yield running


SETTINGS = [
    {"HTTP_PROXY": "http://{proxy}"},
    {"http_proxy": "http://{proxy}"},
    {"ALL_PROXY": "socks5h://{proxy}"},
    {"all_proxy": "http://{proxy}", "NO_PROXY": ""},
    {"HTTP_PROXY": "http://{proxy}", "NO_PROXY": "example.com"},
    {"MODELSHELF_ALL_PROXY": "http://{proxy}"},
]


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_loopback_is_never_asked_through_a_proxy(
    proxy: Proxy, server: Proxy, monkeypatch: pytest.MonkeyPatch, setting: dict[str, str]
) -> None:
    for name, value in setting.items():
        monkeypatch.setenv(name, value.replace("{proxy}", proxy.host))
    Wire(limits=SMALL).request("GET", Url(server.url)).expect(200, what="it")
    assert (len(server.requests), proxy.requests) == (1, [])
    Wire(limits=SMALL).request("GET", Url(server.url.replace("127.0.0.1", "[::ffff:127.0.0.1]"))).expect(200, what="it")
    assert (len(server.requests), proxy.requests) == (2, [])
    with pytest.raises(Unreachable):  # nothing listens for this name, and the proxy is not asked for it
        Wire(limits=SMALL).request("GET", Url("http://localhost:1/"))
    assert proxy.requests == []


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "MODELSHELF_HTTP_PROXY"])
def test_what_is_elsewhere_is_asked_through_the_proxy_that_is_set(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, f"http://{LOGIN}@{proxy.host}")
    assert Wire(limits=SMALL).request("GET", Url("http://model.example/x")).body == b"from the proxy"
    assert proxy.requests[0][1] == "http://model.example/x"


def test_no_proxy_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "inside.example,10.0.0.1:8443")
    assert proxy_for(Url("https://hub.example/")) == "http://proxy.example:3128"
    assert proxy_for(Url("https://a.inside.example/")) == ""
    assert proxy_for(Url("https://10.0.0.1:8443/")) == ""


@pytest.mark.parametrize(("scheme", "status"), [("http", 407), ("https", 407), ("https", 403), ("https", 502)])
def test_what_a_proxy_answers_is_not_taken_for_the_publishers_answer(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, scheme: str, status: int
) -> None:
    proxy.status = status
    monkeypatch.setenv(f"{scheme}_proxy", f"http://{LOGIN}@{proxy.host}")
    with pytest.raises(Unreachable, match=f"through the proxy {proxy.host}.*status {status}"):
        Wire(limits=SMALL).request("GET", Url(f"{scheme}://model.example/x"))


BROKEN = [
    f"http://{LOGIN}@127.0.0.1:1",
    f"http://{LOGIN}@:99999",
    f"htp://{LOGIN}@h:1",
    f"socks5h://{LOGIN}@127.0.0.1:1",
    f"{LOGIN}@127.0.0.1:1",
    f"http://{LOGIN}@[::1",
    "http://me:pa/canary@127.0.0.1:1",
    "http://me:p@canary@127.0.0.1:1",
    "http://me:p'canary@h:99999",
    "http://canary@h:99999",
    "htp://me:pa/canary@h:1",
]


@pytest.mark.parametrize("proxy", BROKEN)
def test_a_proxys_password_is_in_no_message(monkeypatch: pytest.MonkeyPatch, proxy: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    with pytest.raises(ModelshelfError) as caught:
        Wire(limits=SMALL).request("GET", Url("https://model.example/"))
    assert "canary" not in str(caught.value)
    assert "canary" not in repr(caught.value.facts)
    assert "canary" not in "".join(traceback.format_exception(caught.value)), "a run's log, or a trace, has the cause too"


def test_a_login_is_taken_out_of_any_text() -> None:
    assert without_logins("bad 'http://u:p@h:1/x' and u:p@h") == "bad 'http://h:1/x' and h"


def test_programs_of_ours_that_ask_loopback_alone_get_no_proxy_and_pass_the_settings_on() -> None:
    given = {
        "ALL_PROXY": "socks5h://a",
        "https_proxy": "http://b",
        "HTTPS_PROXY": "http://c",
        "NO_PROXY": "x.example",
        "PATH": "/bin",
    }
    assert for_children(given) == {
        "PATH": "/bin",
        "MODELSHELF_ALL_PROXY": "socks5h://a",
        "MODELSHELF_HTTPS_PROXY": "http://b",
        "NO_PROXY": "x.example,127.0.0.1,localhost,::1",
        "no_proxy": "x.example,127.0.0.1,localhost,::1",
    }


def test_no_proxy_at_all_stays_that() -> None:
    assert passing_by({"NO_PROXY": "*"}) == {"NO_PROXY": "*", "no_proxy": "*"}


def test_prefects_own_client_starts_and_asks_loopback_whatever_the_proxies_are(
    proxy: Proxy, server: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client of the kind that Prefect makes, in the environment that our server and worker get."""
    import httpx

    environment = for_children({**os.environ, "ALL_PROXY": f"socks5h://{proxy.host}", "HTTP_PROXY": f"http://{proxy.host}"})
    for name in ("ALL_PROXY", "HTTP_PROXY", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with httpx.Client() as client:
        assert client.get(server.url).status_code == 200
    assert (len(server.requests), proxy.requests) == (1, [])


def test_a_port_that_is_closed_is_unreachable_without_advice_on_proxies() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable) as caught:
            Wire(limits=SMALL).request("GET", Url(f"http://127.0.0.1:{closed.getsockname()[1]}/"))
    assert "PROXY" not in str(caught.value)
