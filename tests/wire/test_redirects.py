"""Where requests and credentials may go. Sockets open on loopback only."""

from __future__ import annotations

import socket
import traceback
from http.server import BaseHTTPRequestHandler

import pycurl
import pytest

from modelshelf.errors import LimitExceeded, RedirectRefused, UnexpectedAnswer, Unreachable
from modelshelf.stop import StopToken
from modelshelf.wire import Authorization, Url, Wire
from modelshelf.wire.guard import Guard, plain
from tests.making import SMALL, ollama_source
from tests.stand_ins.http import StandIn
from tests.stand_ins.ollama_registry import OllamaRegistry

SECRET = Authorization.bearer("canary-secret")


class Redirecting(StandIn):
    """Sends `/` to `target`, and tells what it is asked elsewhere."""

    target = ""
    status = 302
    headers: dict[str, str] = {}

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        if request.path == "/":
            return self.send(request, self.status, b"", Location=self.target)
        return self.send(request, 200, b"here", **self.headers)

    def shown(self, path: str) -> str | None:
        return next(headers.get("Authorization") for _, asked, headers in self.requests if asked == path)


@pytest.fixture
def server() -> Redirecting:
    with Redirecting() as running:
        yield running  # type: ignore[misc]


def get(server: StandIn, **options: object) -> bytes:
    return Wire(limits=SMALL, **options).request("GET", Url(f"{server.url}/"), authorization=SECRET).body  # type: ignore[arg-type]


PRIVATE = [
    "10.0.0.1", "172.16.5.5", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1", "240.0.0.1",
    "[fec0::1]", "[::10.0.0.1]", "[64:ff9b:1::a00:1]", "[::ffff:0:10.0.0.1]",
    "[::]", "[fe80::1]", "[fc00::1]", "[::ffff:10.0.0.1]", "[::ffff:169.254.169.254]", "[64:ff9b::a00:1]", "[2002:a00:1::]",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_a_redirect_to_a_private_address_is_refused(server: Redirecting, address: str) -> None:
    server.target = f"http://{address}/x"
    with pytest.raises(RedirectRefused, match="private network"):
        get(server)


@pytest.mark.parametrize("address", [*PRIVATE, "127.0.0.1", "[::1]"])
def test_from_a_public_source_loopback_is_refused_too(address: str) -> None:
    first, target = Url("https://example.com/"), Url(f"https://{address}/")
    guard = Guard(first, target, frozenset(), source_at_loopback=False)
    with pytest.raises(RedirectRefused):
        guard.check_literal()
    named = Guard(first, target, frozenset({target.host}), source_at_loopback=False)
    named.check_literal()


def test_a_name_that_resolves_to_a_private_address_is_refused_before_it_is_connected_to() -> None:
    guard = Guard(Url("https://example.com/"), Url("https://cdn.example.com/"), frozenset(), source_at_loopback=False)
    inside = (socket.AF_INET, socket.SOCK_STREAM, 6, ("10.1.2.3", 443))
    assert guard.open_socket(0, inside) == pycurl.SOCKET_BAD
    assert guard.refused is not None
    outside = guard.open_socket(0, (socket.AF_INET, socket.SOCK_STREAM, 6, ("93.184.216.34", 443)))
    assert isinstance(outside, socket.socket)
    outside.close()


def test_the_address_that_is_checked_is_the_one_that_is_connected_to(
    server: Redirecting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """libcurl asks with the very address it is about to connect to: no second look-up can differ."""
    asked: list[str] = []
    original = Guard.open_socket

    def spy(self: Guard, purpose: int, address: tuple[int, int, int, tuple[str, int]]) -> socket.socket | int:
        asked.append(address[3][0])
        return original(self, purpose, address)

    monkeypatch.setattr(Guard, "open_socket", spy)
    server.target = f"http://localhost:{server.port}/x"
    assert get(server) == b"here"
    assert asked == ["127.0.0.1", *asked[1:]]
    assert set(asked) <= {"127.0.0.1", "::1"}


def test_a_source_on_loopback_may_redirect_to_loopback(server: Redirecting) -> None:
    server.target = f"http://localhost:{server.port}/x"
    assert get(server) == b"here"


def test_credentials_stay_with_their_host(server: Redirecting) -> None:
    server.target = f"http://localhost:{server.port}/x"
    get(server)
    assert (server.shown("/"), server.shown("/x")) == ("Bearer canary-secret", None)


def test_the_same_host_on_another_port_is_another_host(server: Redirecting) -> None:
    with Redirecting() as other:
        server.target = f"{other.url}/x"
        assert get(server) == b"here"
        assert other.shown("/x") is None


def test_credentials_are_shown_again_on_the_same_host(server: Redirecting) -> None:
    server.target = "/x"
    get(server)
    assert server.shown("/x") == "Bearer canary-secret"


def test_credentials_are_not_shown_again_after_a_redirect_through_another_origin(server: Redirecting) -> None:
    """The other server chose what is asked here: with our login it would read, or do, what it may not."""
    with Redirecting() as other:
        server.target, other.target = f"{other.url}/", f"{server.url}/private"
        assert get(server) == b"here"
    assert server.shown("/") == "Bearer canary-secret"
    assert server.shown("/private") is None


ELSEWHERE = [
    "http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://0177.0.0.1/", "http://10.0.0.0x1/", "http://1.2.3.4.5/",
    "http://%31%30.0.0.1/", "http://[fe80::1%25eth0]/", "http://[::1]]/", "http://[v1.x]/", "http://[127.0.0.1]/", "http://[",
    "http://./", "http://good.example;x/", "http://a,b/", "http://a'b/", "http://*.example/", "http://good.example%2f.evil/",
    "http://h:99999/", "http://-x.example/",
]  # fmt: skip


@pytest.mark.parametrize("target", ELSEWHERE)
def test_a_host_that_others_read_as_another_is_no_address(server: Redirecting, target: str) -> None:
    """libcurl and a proxy read `127.1` as 127.0.0.1: through a proxy, the address in the URL is all that can be checked."""
    server.target = target
    with pytest.raises(UnexpectedAnswer, match="address"):
        get(server)
    assert len(server.requests) == 1


@pytest.mark.parametrize("host", ["a_b.example", "a.example.", "xn--bcher-kva.example", "8.8.8.8", "[2a00::1]", "1x.example"])
def test_an_ordinary_host_is_an_address(host: str) -> None:
    assert Url(f"https://{host}/x#y").text == f"https://{host}/x"


def test_an_address_that_is_none_is_reported_without_login_and_query() -> None:
    texts = (
        "me:canary@h",
        "me:x/canary@h",
        "me:x?canary@h",
        "me:x#canary@h",
        "me:canary/x@h",
        "h:x/?token=canary",
        "me:canary@h\u2100",
    )
    for text in (*texts, *(f"https://{text}" for text in texts)):
        with pytest.raises(UnexpectedAnswer) as caught:
            Url(text)
        assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("line", ["HTTP/x y: z", "HTTP/9: z", "HTTP/1.1 200x: y"])
def test_a_header_that_looks_like_a_status_is_a_header(line: str) -> None:
    class Odd(StandIn):
        def answer(self, request: BaseHTTPRequestHandler) -> None:
            request.wfile.write(f"HTTP/1.1 200 OK\r\nX: 1\r\n{line}\r\nContent-Length: 0\r\n\r\n".encode())

    with Odd() as server:
        answer = Wire(limits=SMALL).request("GET", Url(f"{server.url}/"))
        assert (answer.status, answer.headers["x"]) == (200, "1")


@pytest.mark.parametrize(
    "target", ["ftp://example.com/x", "file:///etc/passwd", "gopher://x/", "//", "http://user:pw@localhost/", "http://a b/"]
)
def test_a_redirect_to_another_scheme_is_refused(server: Redirecting, target: str) -> None:
    server.target = target
    with pytest.raises((UnexpectedAnswer, RedirectRefused)):
        get(server)


def test_https_never_becomes_http() -> None:
    """Asked of the rule itself: the wire's next hop is refused before a byte is sent."""
    wire = Wire()
    hops: list[str] = []

    def hop(_call: object, url: Url, *_rest: object) -> object:
        from modelshelf.wire import Answer

        hops.append(url.text)
        return Answer(302, {"location": "http://example.com/x"}, b"", url), None

    wire._hop = hop  # type: ignore[method-assign, assignment]
    with pytest.raises(RedirectRefused, match="leave https"):
        wire.request("GET", Url("https://example.com/"))
    assert hops == ["https://example.com/"]


def test_more_than_five_redirects_are_refused(server: Redirecting) -> None:
    server.target = "/"
    with pytest.raises(RedirectRefused, match="redirect number 6"):
        get(server)
    assert len(server.requests) == 6


def test_a_second_challenge_from_the_redirected_host_never_gets_the_first_hosts_token(registry: OllamaRegistry) -> None:
    registry.add_model("library/tiny", "1b", b"GGUF")
    with OllamaRegistry() as other:
        other.token = "other"
        registry.token, registry.password = "first", "me:pw"
        digest = next(iter(registry.blobs))
        registry.redirect_to = f"{other.url}/v2/library/tiny/blobs/{digest}"
        source = ollama_source(registry, user="me", secret="pw")
        listing = source.list_files(source.pin(StopToken()), StopToken())
        url = listing.files[0].wanted.body.url
        shown = source.login.current
        assert shown is not None
        answer = source.wire.request("GET", url, authorization=shown)
        assert answer.status == 401
        assert not source.login.renew(answer, shown, StopToken())
        assert all("first" not in str(headers) and "Basic" not in str(headers) for _, _, headers in other.requests)


def test_a_realm_on_a_host_that_is_not_the_registrys_gets_no_credentials(registry: OllamaRegistry) -> None:
    registry.add_model("library/tiny", "1b", b"GGUF")
    with OllamaRegistry() as other:
        other.token = registry.token = "handed-out-to-anyone"
        realm = f"http://localhost:{other.port}/token"
        source = ollama_source(registry, user="me", secret="pw")
        from modelshelf.wire import Answer

        url = Url(f"{registry.url}/v2/library/tiny/manifests/1b")
        challenge = {"www-authenticate": f'Bearer realm="{realm}",service="s"'}
        source.login.renew(Answer(401, challenge, b"", url, at_loopback=True), None, StopToken())
        assert other.asked("/token") == 1
        assert other.requests[0][2].get("Authorization") is None


def test_a_registry_that_asks_for_a_token_gets_one_with_the_stored_login(registry: OllamaRegistry) -> None:
    manifest = registry.add_model("library/tiny", "1b", b"GGUF")
    registry.token, registry.password = "the-token", "me:pw"
    source = ollama_source(registry, user="me", secret="pw")
    from modelshelf.digest import Digest

    assert source.pin(StopToken()).resolved == Digest.of(manifest).hex


def test_a_proxy_is_used_only_where_the_environment_names_it(server: Redirecting, monkeypatch: pytest.MonkeyPatch) -> None:
    with Redirecting() as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:proxypass@{proxy.host}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        server.target = "/x"
        get(server)
        assert proxy.requests == []
        monkeypatch.setenv("no_proxy", "")
        wire = Wire(limits=SMALL)
        assert wire.request("GET", Url("http://model.example/x"), authorization=SECRET).body == b"here"
        assert proxy.requests[0][1] == "http://model.example/x"
        assert server.shown("/x") is not None
        assert all("proxypass" not in str(headers) for _, _, headers in server.requests)


def test_a_netrc_lends_no_credentials(server: Redirecting, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    from pathlib import Path

    netrc = Path(str(tmp_path)) / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password canary\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    server.target = "/x"
    Wire(limits=SMALL).request("GET", Url(f"{server.url}/"))
    assert server.shown("/") is None


def test_headers_are_bounded(server: Redirecting) -> None:
    server.target = "/x"
    server.headers = {f"X-{number}": "y" * 1000 for number in range(100)}
    with pytest.raises(LimitExceeded, match="header"):
        get(server)


def test_an_error_body_is_read_no_further_than_its_bound() -> None:
    class Failing(StandIn):
        def answer(self, request: BaseHTTPRequestHandler) -> None:
            self.send(request, 500, b"no " * 1_000_000)

    with Failing() as server:
        answer = Wire(limits=SMALL).request("GET", Url(f"{server.url}/"))
        assert (answer.status, len(answer.body)) == (500, SMALL.error_body_bytes)


def test_a_host_that_is_not_there_is_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(Unreachable, match="could not be reached"):
            Wire(limits=SMALL).request("GET", Url(f"http://127.0.0.1:{port}/"))


def test_an_address_in_ipv6_clothes_is_known() -> None:
    import ipaddress

    assert str(plain(ipaddress.ip_address("::ffff:10.0.0.1"))) == "10.0.0.1"


def test_a_secret_is_not_in_the_words_of_what_holds_it() -> None:
    assert "canary" not in repr(SECRET)
