"""HF_ENDPOINT, HF_TOKEN and their like: used, reported, and overruled by a stored login."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr

from blocks.hugging_face_hub import HuggingFaceHub
from modelshelf.cli import hub_notice
from modelshelf.cli.state_file import Program, Running
from modelshelf.errors import BadSetting, ModelshelfError
from modelshelf.nodes import processes
from modelshelf.settings import Settings, private_folder
from modelshelf.sources.hub_environment import differing, read
from modelshelf.sources.uri import HuggingFaceUri
from modelshelf.stop import StopToken
from tasks import sources
from tasks.sources import HuggingFaceOrigin
from tests.making import safetensors
from tests.stand_ins.hub import Hub

URI = HuggingFaceUri.parse("org/model")


def shown(hub: Hub) -> str | None:
    hub.repo("org/model").commit({"model.safetensors": safetensors()})
    source = asyncio.run(HuggingFaceOrigin(URI, "default").open())
    assert source.pin(StopToken()).resolved
    return hub.requests[-1][2].get("Authorization")


@pytest.mark.parametrize("name", ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"])
def test_endpoint_and_token_of_the_environment_are_used(hub: Hub, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/")
    monkeypatch.setenv(name, "canary\n")
    assert shown(hub) == "Bearer canary"
    words = asyncio.run(HuggingFaceOrigin(URI, "default").access())
    assert words == f"the Hub's address is {hub.url} (address from HF_ENDPOINT, token from {name})"


def test_a_token_may_lie_in_a_file(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("canary\n")
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "token"))
    assert shown(hub) == "Bearer canary"
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(BadSetting, match="HF_TOKEN_PATH"):
        shown(hub)


def test_a_stored_login_wins_as_a_whole(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's token is not shown to the address that the block names."""

    async def load(_kind: object, _name: str) -> HuggingFaceHub:
        return HuggingFaceHub(endpoint=hub.url, token=SecretStr(""))

    monkeypatch.setattr(sources, "_load", load)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("HF_TOKEN", "canary")
    assert shown(hub) is None
    assert "login default" in asyncio.run(HuggingFaceOrigin(URI, "default").access())


def test_where_nothing_is_set_it_is_the_public_hub_without_a_token() -> None:
    found = read({})
    assert (found.endpoint, found.token) == ("https://huggingface.co", "")
    assert str(found) == "the Hub's address is https://huggingface.co, without a token"


def test_the_token_is_in_no_words() -> None:
    found = read({"HF_TOKEN": "canary", "HF_ENDPOINT": "https://h.example"})
    assert "canary" not in f"{found}{found!r}"


@pytest.mark.parametrize(
    "endpoint",
    ["https://me:canary@h.example", "https://h.example/?token=canary", "me:canary@h.example", "https://canary@h.example/hub"],
)
def test_an_endpoint_with_a_login_in_it_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """The address is logged with each run, and shown by `modelshelf logins`."""
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(BadSetting, match="HF_ENDPOINT") as caught:
        asyncio.run(HuggingFaceOrigin(URI, "default").access())
    assert "canary" not in str(caught.value)

    async def load(_kind: object, _name: str) -> HuggingFaceHub:
        return HuggingFaceHub(endpoint=endpoint)

    monkeypatch.setattr(sources, "_load", load)
    with pytest.raises(BadSetting, match="login default") as caught:
        asyncio.run(HuggingFaceOrigin(URI, "default").access())
    assert "canary" not in str(caught.value)


def test_a_mirror_below_a_path_is_asked_below_it(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/api/huggingface/hub//")
    with pytest.raises(ModelshelfError):
        asyncio.run(HuggingFaceOrigin(URI, "default").open()).pin(StopToken())
    assert hub.requests[0][1].startswith("/api/huggingface/hub/api/models/org/model")


def test_what_differs_between_shell_and_worker_is_named_without_its_value() -> None:
    assert differing({"HF_TOKEN": "canary", "HF_ENDPOINT": "x"}, {"HF_ENDPOINT": "x"}) == ["HF_TOKEN"]
    assert differing({}, {"HF_TOKEN": "canary"}) == ["HF_TOKEN"]
    assert differing({}, {}) == []


def test_a_shell_whose_token_the_worker_lacks_is_told(
    home: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()"]
    environment = {**os.environ, "HF_ENDPOINT": "https://h.example"}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == b"up\n"
        private_folder(home.run)
        Running("http://127.0.0.1:1", None, processes.identify(worker.pid), Program.here(home)).write(home)
        monkeypatch.setenv("HF_TOKEN", "canary")
        monkeypatch.setenv("HF_ENDPOINT", "https://h.example")
        hub_notice.show(home)
        assert worker.stdin is not None
        worker.stdin.close()
    told = capsys.readouterr().err
    assert told.startswith("HF_TOKEN: the worker was started with another value")
    assert "canary" not in told
    assert "HF_ENDPOINT" not in told
