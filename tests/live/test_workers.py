"""The worker, its work pool, and what Prefect's server is given: deployments of today and of earlier versions, retention, looks."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import pytest

from modelshelf.cli import lost
from modelshelf.cli.deployments import Deployment
from modelshelf.cli.prefect_api import FINAL
from modelshelf.cli.state_file import Running
from modelshelf.nodes import processes
from modelshelf.nodes.processes import Process
from tests.live.conftest import Shelf
from tests.live.test_runs import begin, until
from tests.making import gguf
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live


@pytest.fixture(autouse=True)
def up(shelf: Shelf) -> None:
    shelf("up", "--detach")


def test_every_deployment_is_in_the_pool_and_deploy_lists_them(shelf: Shelf) -> None:
    deployed = {one["deployment"]: one for one in shelf.json("deploy")}
    assert deployed.keys() == {one.label for one in Deployment}
    assert {one["queue"] for one in deployed.values()} == {"default"}
    assert deployed["warm-up-nightly"]["schedule"] == "30 4 * * *"
    assert deployed["clean-weekly"]["schedule"] == "0 5 * * 0 (switched off)"
    assert {one["work_pool_name"] for one in shelf.api.deployments()} == {"modelshelf"}
    status = shelf.json("status")
    assert (status["server"], status["worker"]) == ("up", "up")


def test_a_start_that_changes_nothing_writes_no_deployment(shelf: Shelf) -> None:
    before = {one["id"]: one["updated"] for one in shelf.api.deployments()}
    log = shelf.settings.run / "deploy.log"
    log.unlink(missing_ok=True)
    shelf("down")
    shelf("up", "--detach")
    assert {one["id"] for one in shelf.api.deployments()} == before.keys()
    assert not log.exists()


def test_deployments_of_an_earlier_version_go_and_what_a_person_set_of_them_stays(shelf: Shelf) -> None:
    api = shelf.api
    for one in api.deployments():
        if one["name"] in ("clean-weekly", "import-ollama"):
            as_it_was = {
                "flow_id": one["flow_id"], "entrypoint": one["entrypoint"],
                "name": "weekly" if one["name"] == "clean-weekly" else "on-demand",
                "schedules": [{"schedule": {"cron": "7 7 * * *", "timezone": "UTC"}, "active": True, "parameters": {"keep": 5}}],
            }  # fmt: skip
            api._send("POST", "deployments/", as_it_was)
            api._request("DELETE", f"deployments/{one['id']}").expect(204, what="the deletion")
    shelf("down")
    shelf("up", "--detach")
    now = {one["name"]: one for one in shelf.api.deployments()}
    assert now.keys() == {one.label for one in Deployment}
    (schedule,) = now["clean-weekly"]["schedules"]
    assert (schedule["schedule"]["cron"], schedule["active"], schedule["parameters"]) == ("7 7 * * *", True, {"keep": 5})


def test_a_run_of_an_earlier_versions_deployment_is_retried_by_the_one_of_today(shelf: Shelf) -> None:
    api = shelf.api
    deployment = next(one for one in api.deployments() if one["name"] == "import-ollama")
    earlier = api._send("POST", "deployments/", {"flow_id": deployment["flow_id"], "name": "earlier"})
    parameters = {"model": "nobody/runs:this", "dry_run": True}
    run = api._send("POST", f"deployments/{earlier['id']}/create_flow_run", {"parameters": parameters})["id"]
    api.set_state(run, "CANCELLED", "of long ago")
    api._request("DELETE", f"deployments/{earlier['id']}").expect(204, what="the deletion")
    again = shelf("retry", run[:8], "--no-wait").stdout.split()[5].rstrip(".")
    (made,) = until(lambda: [one for one in api.runs(20) if one["id"].startswith(again)])
    assert (made["deployment_id"], made["parameters"]) == (deployment["id"], parameters)
    until(lambda: api.run(made["id"])["state_type"] in FINAL)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_that_is_told_to_stop_cancels_what_runs_and_waits_for_it(
    shelf: Shelf, registry: OllamaRegistry, hub: Hub, number: signal.Signals
) -> None:
    registry.add_model("library/endless", "1b", gguf(60_000_000, seed=int(number)), template=uuid.uuid4().hex)
    registry.faults.pace = 3
    shelf.login(registry, hub)
    shelf("down")
    command = subprocess.Popen(shelf.command("up"), env=shelf.environment, stdout=subprocess.DEVNULL, start_new_session=True)
    until(lambda: (found := Running.read(shelf.settings)) is not None and found.alive)
    run = begin(shelf, registry, f"ollama://{registry.host}/library/endless:1b")
    os.killpg(command.pid, number)
    assert command.wait(60) == 0
    assert Running.read(shelf.settings) is None
    assert (lost.parts(shelf.settings.home), run in lost.runs_with_a_process()) == ([], False)
    shelf("up", "--detach")
    assert shelf.api.run(run)["state_type"] == "CANCELLED"


def looks(shelf: Shelf) -> list[dict[str, Any]]:
    return [run for run in shelf.api.runs(200) if run["name"].startswith("reconcile") and run["state_type"] in FINAL]


def look(shelf: Shelf) -> None:
    run = shelf.api.create_run(Deployment.RECONCILE, {}, uuid.uuid4().hex)["id"]
    until(lambda: run in [one["id"] for one in looks(shelf)])


def test_looks_that_only_looked_do_not_fill_the_list_of_runs(shelf: Shelf) -> None:
    for _ in range(3):
        look(shelf)
    assert [run["name"] for run in looks(shelf)] == ["reconcile"]


def test_a_look_that_did_something_stays_and_its_name_says_what(shelf: Shelf) -> None:
    lost = shelf.api.create_run(Deployment.IMPORT_OLLAMA, {"model": "nobody/runs:this"}, uuid.uuid4().hex)["id"]
    until(lambda: shelf.api.run(lost)["state_type"] in FINAL)
    body = {"state": {"type": "RUNNING", "name": "Running"}, "force": True}
    shelf.api._send("POST", f"flow_runs/{lost}/set_state", body)
    time.sleep(6)  # a run without a process may have just ended
    look(shelf)
    look(shelf)
    assert sorted(run["name"] for run in looks(shelf)) == ["reconcile", "reconcile: end import nobody/runs:this"]


def test_prefect_deletes_runs_that_ended_more_than_thirty_days_ago(shelf: Shelf) -> None:
    ids = []
    for _ in range(2):
        run = shelf.api.create_run(Deployment.IMPORT_OLLAMA, {"model": "nobody/runs:this"}, uuid.uuid4().hex)["id"]
        until(lambda run=run: shelf.api.run(run)["state_type"] in FINAL)
        ids.append(run)
    shelf("down")
    with sqlite3.connect(shelf.settings.prefect_home / "prefect.db") as database:
        for run, days in zip(ids, (29, 31), strict=True):
            then = time.strftime("%Y-%m-%d %H:%M:%S.000000", time.gmtime(time.time() - days * 86400))
            database.execute("UPDATE flow_run SET end_time = ? WHERE id = ?", (then, str(uuid.UUID(run))))
    database.close()
    shelf("up", "--detach")
    until(lambda: ids[1] not in [one["id"] for one in shelf.api.runs(200)])
    assert shelf.api.run(ids[0])["id"] == ids[0]


@pytest.fixture
def runner() -> Iterator[Process]:
    """What executed the runs of an earlier version: any process that lives."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as child:
        found = processes.identify(child.pid)
        assert found is not None
        yield found
        processes.stop(found, 5)


def test_the_runner_of_an_earlier_version_is_recognised_and_stopped(shelf: Shelf, runner: Process) -> None:
    was = Running.read(shelf.settings)
    assert was is not None
    assert was.worker is not None
    earlier = asdict(replace(was, runner=runner))
    del earlier["worker"]
    (shelf.settings.run / "server.json").write_text(json.dumps(earlier))
    refused = shelf("up", "--detach", check=False)
    assert (refused.returncode, "an earlier modelshelf started them" in refused.stderr) == (1, True)
    shelf("down")
    os.waitpid(runner.pid, 0)
    assert not processes.alive(was.worker), "a worker that no state file names is found by its mark"
    shelf("up", "--detach")
    assert Running.read(shelf.settings) not in (None, was)
