"""What happens when server, worker, a run or a command is killed, moved or replaced: nothing hangs, nothing stays Running."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from modelshelf.cli import lost
from modelshelf.cli.prefect_api import FINAL
from modelshelf.cli.state_file import Running
from modelshelf.nodes import processes
from modelshelf.nodes.processes import Process
from modelshelf.settings import Settings, default_catalog
from tests.live.conftest import Shelf
from tests.live.test_runs import begin, pid_of, until
from tests.making import gguf
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live


@pytest.fixture
def slow(shelf: Shelf, registry: OllamaRegistry, hub: Hub) -> Iterator[str]:
    """A source whose body takes longer than any test."""
    shelf("up", "--detach")
    name = uuid.uuid4().hex[:8]
    registry.add_model(f"library/{name}", "1b", gguf(60_000_000, seed=os.getpid()), template=name)
    registry.faults.pace = 3
    shelf.login(registry, hub)
    yield f"ollama://{registry.host}/library/{name}:1b"
    registry.faults.pace = 0


def running(shelf: Shelf) -> Running:
    found = Running.read(shelf.settings)
    assert found is not None
    return found


def kill(process: Process | None) -> None:
    assert process is not None
    os.kill(process.pid, signal.SIGKILL)
    until(lambda: not processes.alive(process))


def power_cut(shelf: Shelf, run: str) -> None:
    was, flow = running(shelf), pid_of(run)
    kill(was.worker)
    kill(was.server)
    os.kill(flow, signal.SIGKILL)
    until(lambda: run not in lost.runs_with_a_process())


def test_up_ends_the_runs_that_a_power_cut_left_and_down_waits_for_none(
    shelf: Shelf, registry: OllamaRegistry, slow: str
) -> None:
    run = begin(shelf, registry, slow)
    power_cut(shelf, run)
    assert "was interrupted" in shelf("up", "--detach").stderr
    ended = shelf.api.run(run)
    assert (ended["state_type"], "modelshelf retry" in ended["state"]["message"]) == ("CRASHED", True)
    began = time.monotonic()
    shelf("down")
    assert time.monotonic() - began < 20


def test_a_run_that_was_being_cancelled_at_the_cut_is_cancelled(shelf: Shelf, registry: OllamaRegistry, slow: str) -> None:
    run = begin(shelf, registry, slow)
    os.kill(pid_of(run), signal.SIGSTOP)
    shelf("cancel", run[:8])
    power_cut(shelf, run)
    shelf("up", "--detach")
    assert shelf.api.run(run)["state_type"] == "CANCELLED"


def test_a_run_that_had_no_process_yet_at_the_cut_is_ended_by_the_next_up(shelf: Shelf) -> None:
    shelf("up", "--detach")
    run = forced(shelf, "PENDING")
    kill(running(shelf).worker)
    kill(running(shelf).server)
    assert "was interrupted" in shelf("up", "--detach").stderr
    assert shelf.api.run(run)["state_type"] == "CRASHED"


def forced(shelf: Shelf, kind: str) -> str:
    """Return the id of a run in that state that no process runs."""
    made = shelf.api.create_run("import-ollama/import-ollama", {"model": "nobody/runs:this"}, uuid.uuid4().hex)
    until(lambda: shelf.api.run(made["id"])["state_type"] in FINAL)
    body = {"state": {"type": kind, "name": kind.title()}, "force": True}
    shelf.api._send("POST", f"flow_runs/{made['id']}/set_state", body)
    return str(made["id"])


def test_the_five_minute_flow_ends_lost_runs_too(shelf: Shelf) -> None:
    shelf("up", "--detach")
    run = forced(shelf, "RUNNING")

    def looked() -> bool:
        look = shelf.api.create_run("reconcile/reconcile-every-five-minutes", {}, uuid.uuid4().hex)
        until(lambda: shelf.api.run(look["id"])["state_type"] == "COMPLETED")
        return bool(shelf.api.run(run)["state_type"] == "CRASHED")

    until(looked)  # a look leaves a run alone that was Running a moment ago


@pytest.mark.parametrize("part", ["server", "worker", "flow"])
def test_a_command_that_follows_a_run_ends_within_half_a_minute_when_a_part_is_killed(
    shelf: Shelf, registry: OllamaRegistry, slow: str, part: str
) -> None:
    command = subprocess.Popen(shelf.command("import", slow), env=shelf.environment, stderr=subprocess.PIPE, text=True)
    until(lambda: registry.body_bytes > 1_000_000)
    run = shelf.api.runs(1)[0]["id"]
    flow, was = pid_of(run), running(shelf)
    if part == "server":
        kill(was.server)
    if part == "worker":
        kill(was.worker)
    if part in ("worker", "flow"):
        os.kill(flow, signal.SIGKILL)
    _, said = command.communicate(timeout=30)
    assert command.returncode == (70 if part == "flow" else 3), said
    assert ("has ended" in said) == (part != "flow"), said
    assert "Traceback" not in said
    if part != "flow":
        assert "modelshelf retry" in " ".join(said.split())
    shelf("down")


def test_a_first_command_that_is_killed_leaves_one_server_and_one_worker_after_the_next(shelf: Shelf) -> None:
    for signal_number in (signal.SIGKILL, signal.SIGHUP):
        for many in (1, 2):
            shelf("down")
            first = subprocess.Popen(shelf.command("up", "--detach"), env=shelf.environment, stdout=subprocess.DEVNULL)
            until(lambda many=many: len(lost.parts(shelf.settings.home)) == many)
            first.send_signal(signal_number)
            first.wait(30)
            shelf("up", "--detach")
            was = running(shelf)
            assert was.server is not None
            assert was.worker is not None
            assert {one.pid for one in lost.parts(shelf.settings.home)} == {was.server.pid, was.worker.pid}


def test_a_copy_of_a_home_is_refused_until_it_takes_over_and_leaves_the_first_ones_engine_alone(
    shelf: Shelf, registry: OllamaRegistry, hub: Hub, quick_engine: Path, tmp_path: Path
) -> None:
    registry.add_model("library/tiny", "7b", gguf(seed=7))
    shelf("up", "--detach")
    shelf.login(registry, hub)
    shelf("import", f"ollama://{registry.host}/library/tiny:7b")
    first = Process(**shelf.json("launch", "tiny:7b", "--as", "chat", "--engine", "llamacpp")["process"])
    shelf("down")
    home = tmp_path / "copy"
    shutil.copytree(shelf.settings.home, home)
    copy = Shelf(Settings(home, default_catalog(home)))
    refused = copy("up", "--detach", check=False)
    assert (refused.returncode, "modelshelf up --take-over" in " ".join(refused.stderr.split())) == (1, True)
    assert lost.parts(home) == [], "nothing was started"
    try:
        assert "now owns" in copy("up", "--detach", "--take-over").stderr
        (detached,) = copy.json("instances")
        assert (detached["state"], "taken over" in detached["reason"]) == ("stopped", True)
        second = Process(**copy.json("restart", "chat")["process"])
        assert second != first
        copy("down", "--instances")
        assert (processes.alive(first), processes.alive(second)) == (True, False)
    finally:
        copy("down", "--instances", check=False)
    shelf("up", "--detach")
    assert [one["state"] for one in shelf.json("instances")] == ["ready"]
    shelf("delete", "--instance", "chat")
    shelf("delete", "tiny:7b")


def test_a_program_that_was_replaced_while_it_is_up_is_recognised_and_said(shelf: Shelf) -> None:
    shelf("up", "--detach")
    was = running(shelf)
    assert was.program is not None
    for changed, words in (
        (replace(was.program, version="0.0.1"), "they run modelshelf 0.0.1"),
        (replace(was.program, python="/nowhere/bin/python"), "/nowhere/bin/python, which is gone"),
        (replace(was.program, home="/nowhere/home"), "they were started for /nowhere/home"),
    ):
        (shelf.settings.run / "server.json").write_text(json.dumps(asdict(replace(was, program=changed))))
        for command in (["up", "--detach"], ["cache", "nothing"]):
            done = shelf(*command, check=False)
            assert done.returncode == 1
            said = " ".join(done.stderr.split())
            assert words in said
            assert "modelshelf down" in said
    shelf("down")
    shelf("up", "--detach")
    assert running(shelf).program == was.program


def test_what_a_person_set_on_a_schedule_stays(shelf: Shelf) -> None:
    shelf("up", "--detach")
    require_kept_schedules(shelf)


def require_kept_schedules(shelf: Shelf) -> None:
    """Set schedules and parameters as a person does in the UI, and compare them after `deploy` and after a restart."""
    api = shelf.api
    deployment = next(one for one in api.deployments() if one["entrypoint"].endswith("clean_stale_versions"))
    assert (deployment["parameters"], deployment["schedules"][0]["parameters"]) == ({"dry_run": True}, {"dry_run": False})
    mine = [
        {"schedule": {"cron": "1 2 * * *", "timezone": "UTC"}, "active": True, "parameters": {"keep": 9}},
        {"schedule": {"cron": "3 4 * * *", "timezone": "UTC"}, "active": False, "parameters": {}},
    ]
    body = {"schedules": mine, "parameters": {"dry_run": True, "days": 3}}
    api._send("PATCH", f"deployments/{deployment['id']}", body, what="a deployment")

    def as_set() -> object:
        now = next(one for one in shelf.api.deployments() if one["id"] == deployment["id"])
        schedules = sorted((one["schedule"]["cron"], one["active"], one["parameters"]) for one in now["schedules"])
        return schedules, now["parameters"]

    wanted = ([("1 2 * * *", True, {"keep": 9}), ("3 4 * * *", False, {})], {"dry_run": True, "days": 3})
    assert as_set() == wanted
    shelf("deploy")
    assert as_set() == wanted
    shelf("down")
    shelf("up", "--detach")
    assert as_set() == wanted


def test_every_line_of_the_workers_log_is_one_object(shelf: Shelf, registry: OllamaRegistry, slow: str) -> None:
    registry.faults.pace = 0
    shelf("import", slow)
    shelf("import", f"ollama://{registry.host}/library/none:1b", check=False)
    lines = [json.loads(line) for line in (shelf.settings.run / "worker.log").read_text().splitlines()]
    assert {"import-ollama"} <= {line.get("flow_name") for line in lines}
    assert all(isinstance(line, dict) and "msg" in line for line in lines)
