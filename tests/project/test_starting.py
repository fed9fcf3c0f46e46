"""When `up` writes deployments, and when it says that the worker is up."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from modelshelf.cli import starting
from modelshelf.cli.deployments import Deployment
from modelshelf.cli.prefect_api import PrefectApi
from modelshelf.cli.state_file import project_version
from tests.stand_ins.http import StandIn


class Prefect(StandIn):
    """A server with these deployments and workers."""

    def __init__(self) -> None:
        super().__init__()
        self.deployments = [{"name": one.label, "version": project_version()} for one in Deployment]
        self.workers: list[dict[str, Any]] | None = None

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        request.rfile.read(int(request.headers.get("Content-Length", 0)))
        if "csrf-token" in request.path:
            return self.send(request, 200, b'{"token": "t"}')
        if request.path.endswith("/workers/filter"):
            return self.send(request, 200 if self.workers is not None else 404, json.dumps(self.workers or []).encode())
        return self.send(request, 200, json.dumps(self.deployments).encode())


@pytest.fixture
def prefect() -> Iterator[Prefect]:
    with Prefect() as running:
        yield running


def test_a_server_that_has_what_this_program_states_is_left_alone(prefect: Prefect) -> None:
    assert starting._is_deployed(PrefectApi(prefect.url, "a:b"))


@pytest.mark.parametrize("other", ["a new one is missing", "of another program", "of an earlier version too"])
def test_whatever_differs_is_deployed_again(prefect: Prefect, other: str) -> None:
    if other == "a new one is missing":
        prefect.deployments.pop()
    elif other == "of another program":
        prefect.deployments[3]["version"] = "0.0.1-00000000"
    else:
        prefect.deployments.append({"name": "on-demand", "version": "x"})
    assert not starting._is_deployed(PrefectApi(prefect.url, "a:b"))


def test_a_worker_is_up_when_it_has_reported_again(prefect: Prefect) -> None:
    api = PrefectApi(prefect.url, "a:b")
    assert api.last_heartbeat("modelshelf", "here") is None, "there is no pool yet"
    prefect.workers = [{"name": "there", "last_heartbeat_time": "1"}]
    assert api.last_heartbeat("modelshelf", "here") is None
    prefect.workers.append({"name": "here", "last_heartbeat_time": "2"})
    assert api.last_heartbeat("modelshelf", "here") == "2"
