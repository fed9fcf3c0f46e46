"""Runs that nobody runs any more are ended: which, when, and as what."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler

import pytest

from modelshelf.cli import lost
from modelshelf.cli.prefect_api import PrefectApi
from tests.nodes.test_members import until
from tests.stand_ins.http import StandIn


class Prefect(StandIn):
    """A server with flow runs, by id."""

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[str, dict[str, object]] = {}

    def add(self, kind: str, age: float) -> str:
        run, since = str(uuid.uuid4()), datetime.fromtimestamp(time.time() - age, UTC)
        self.runs[run] = {"id": run, "name": kind, "state_type": kind, "state": {"timestamp": since.isoformat()}}
        return run

    def states(self, runs: list[str]) -> list[object]:
        return [self.runs[run]["state_type"] for run in runs]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = json.loads(request.rfile.read(int(request.headers.get("Content-Length", 0))) or b"{}")
        path = request.path.removeprefix("/api/").split("/")
        found: object = {"token": "t"}
        if request.path.endswith("/filter"):
            kinds = body["flow_runs"]["state"]["type"]["any_"]
            found = [run for run in self.runs.values() if run["state_type"] in kinds]
        elif request.path.endswith("/set_state"):
            self.runs[path[1]]["state_type"] = body["state"]["type"]
        elif path[0] == "flow_runs":
            found = self.runs[path[1]]
        self.send(request, 200, json.dumps(found).encode())


@pytest.fixture
def prefect() -> Iterator[Prefect]:
    with Prefect() as running:
        yield running


@pytest.mark.parametrize("kind", ["PENDING", "RUNNING", "CANCELLING"])
def test_what_had_begun_before_the_only_worker_was_started_is_ended_whatever_its_age(prefect: Prefect, kind: str) -> None:
    runs = [prefect.add(kind, age) for age in (3, 0.5)]
    ended = lost.conclude(PrefectApi(prefect.url, ""), started=time.time() - 1)
    assert [run["id"] for run in ended] == runs[:1]
    assert prefect.states(runs) == ["CANCELLED" if kind == "CANCELLING" else "CRASHED", kind]


def test_a_look_while_a_worker_runs_gives_a_pending_run_a_minute_to_get_its_process(prefect: Prefect) -> None:
    runs = [prefect.add("PENDING", age) for age in (59, 61)]
    lost.conclude(PrefectApi(prefect.url, ""))
    assert prefect.states(runs) == ["PENDING", "CRASHED"]


def test_a_run_whose_process_outlived_its_worker_goes_on(prefect: Prefect) -> None:
    run = prefect.add("RUNNING", 100)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={**os.environ, lost._RUN: run}) as flow:
        until(lambda: run in lost.runs_with_a_process())
        assert lost.conclude(PrefectApi(prefect.url, ""), started=time.time()) == []
        assert flow.stdin is not None
        flow.stdin.close()
    assert prefect.states([run]) == ["RUNNING"]
    lost.conclude(PrefectApi(prefect.url, ""), started=time.time())
    assert prefect.states([run]) == ["CRASHED"]
