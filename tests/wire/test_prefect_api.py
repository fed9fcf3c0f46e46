"""Requests to Prefect: a busy server is asked again and never taken for a dead one; a secret stays with its address."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler

import pytest

from modelshelf.cli import launcher, starting
from modelshelf.cli.errors import PrefectBusy, PrefectTrouble
from modelshelf.cli.prefect_api import PrefectApi
from modelshelf.errors import UnexpectedAnswer
from modelshelf.limits import DEFAULT
from modelshelf.settings import Settings
from tests.stand_ins.http import StandIn

QUICK = replace(DEFAULT, backoff_seconds=0.001, prefect_seconds=1)
PUBLISHERS = ("download", "publisher", "Hub", "registry", "PROXY", "modelshelf login")


class Prefect(StandIn):
    """Busy `busy` times; then a server with one block."""

    busy = 0
    status = 503
    silent = 0
    stored: dict[str, object] | None = None
    detail: list[dict[str, object]] = []
    """Why a block is not taken, in Prefect's words."""

    def __init__(self) -> None:
        super().__init__()
        self.saved: list[dict[str, object]] = []

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length", 0))
        body = request.rfile.read(length)
        if self.silent:
            self.silent -= 1
            self.faults.released.wait(20)
            return None
        if self.busy:
            self.busy -= 1
            return self.send(request, self.status, b"{}")
        if "block_documents/name" in request.path:
            there = json.dumps({"id": "d", "data": self.stored}).encode()
            return self.send(request, 404 if self.stored is None else 200, there)
        if "/block_documents/" in request.path and self.detail:
            told = {"exception_message": "Invalid", "exception_detail": self.detail, "request_body": json.loads(body)}
            return self.send(request, 422, json.dumps(told, separators=(",", ":")).encode())
        if "/block_documents/" in request.path:
            self.saved.append(json.loads(body))
        if "schemas" in request.path:
            return self.send(request, 200, b'[{"id":"s"}]')
        return self.send(request, 200, b'{"id":"x","name":"n","token":"t"}')


@pytest.fixture
def prefect() -> Iterator[Prefect]:
    with Prefect() as running:
        yield running


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_prefect_is_asked_again(prefect: Prefect, status: int) -> None:
    prefect.busy, prefect.status = 4, status
    assert PrefectApi(prefect.url, "a:b", QUICK).flow_name("1") == "n"
    assert len(prefect.requests) == 5


def test_a_prefect_that_answers_late_is_asked_again(prefect: Prefect) -> None:
    prefect.silent = 1
    assert PrefectApi(prefect.url, "a:b", QUICK).flow_name("1") == "n"
    assert len(prefect.requests) == 2


def test_a_prefect_that_stays_busy_is_named_and_no_publisher_is(prefect: Prefect) -> None:
    prefect.busy = 1000
    with pytest.raises(PrefectBusy, match=f"The Prefect server {prefect.host} is busy: status 503, asked 7 times") as caught:
        PrefectApi(prefect.url, "a:b", QUICK).flow_name("1")
    assert not any(word in str(caught.value) for word in PUBLISHERS)


def test_a_server_whose_disk_is_full_says_so_at_once_and_no_token_is_blamed(prefect: Prefect) -> None:
    prefect.busy, prefect.status = 1000, 500
    with pytest.raises(PrefectTrouble, match=f"the Prefect server {prefect.host} .* answered 500 .*full disk"):
        PrefectApi(prefect.url, "a:b", QUICK).runs(1)
    assert len(prefect.requests) == 1


def test_a_busy_server_is_not_taken_for_a_dead_one(prefect: Prefect) -> None:
    """What is taken for dead is stopped, with every run of it."""
    prefect.busy = 2
    assert PrefectApi(prefect.url, "a:b", QUICK).is_healthy()


def test_a_server_that_is_not_there_is_not_waited_for() -> None:
    assert not PrefectApi("http://127.0.0.1:1", "a:b", QUICK).is_healthy()


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        ({"origin": "https://a.example", "secret": "old"}, True),
        ({"origin": "https://b.example", "secret": "old"}, False),
        ({"secret": "old"}, False),
    ],
)
def test_a_secret_is_not_taken_over_to_another_address(prefect: Prefect, stored: dict[str, object], kept: bool) -> None:
    prefect.stored = stored
    same = {"origin": "https://a.example"}
    PrefectApi(prefect.url, "a:b", QUICK).save_block("kind", "name", {**same, "user": "me"}, same=same)
    assert [body["merge_existing_data"] for body in prefect.saved] == [kept]


def test_a_block_that_prefect_does_not_take_is_reported_without_its_secret(prefect: Prefect) -> None:
    """Prefect's answer repeats the whole request beside the reason."""
    prefect.detail = [
        {"type": "string_type", "loc": ["body", "data", "user"], "msg": "Input should be a string", "input": "canary"}
    ]
    with pytest.raises(UnexpectedAnswer, match="body.data.user: Input should be a string") as caught:
        PrefectApi(prefect.url, "a:b", QUICK).save_block("kind", "name", {"secret": "canary"}, same={})
    assert "canary" not in str(caught.value)


def test_server_and_worker_ask_loopback_through_no_proxy(home: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher.prepare(home)
    monkeypatch.setenv("ALL_PROXY", "socks5h://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://user:canary@127.0.0.1:1")
    ours = starting.environment(home, "http://127.0.0.1:4200", remote=False)
    assert {"ALL_PROXY", "HTTP_PROXY"} & ours.keys() == set()
    assert ours["MODELSHELF_ALL_PROXY"] == "socks5h://127.0.0.1:1"
    assert ours["NO_PROXY"] == ours["no_proxy"] == "127.0.0.1,localhost,::1"


def test_whether_a_block_is_stored_is_asked_without_its_secret(prefect: Prefect) -> None:
    api = PrefectApi(prefect.url, "a:b", QUICK)
    assert not api.has_block("modelshelf-engine-key", "door")
    prefect.stored = {"key": "********"}
    assert api.has_block("modelshelf-engine-key", "door")
    assert [path for _, path, _ in prefect.requests if "include_secrets" in path] == []
