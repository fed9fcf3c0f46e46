"""A Prefect server that someone else runs: modelshelf serves its deployments there and stores nothing in it but runs and blocks."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.events import Event, Resource
from prefect.events.clients import get_events_client
from prefect.events.related import tags_as_related_resources
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.states import Failed, Running, State

from deployments.automations import lost_runs
from modelshelf.cli.deployments import TAG
from modelshelf.cli.prefect_api import PrefectApi
from modelshelf.settings import Settings
from tests.live.conftest import Shelf
from tests.making import gguf, write
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

SECRET = "team:their-own"


@pytest.fixture
def theirs(tmp_path: Path) -> Iterator[str]:
    """The address of a plain `prefect server start` with a secret of its own."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {
        "PREFECT_HOME": str(tmp_path / "theirs"),
        "PREFECT_SERVER_API_AUTH_STRING": SECRET,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 60
        while not PrefectApi(url, SECRET).is_healthy():
            assert time.monotonic() < until
            time.sleep(0.2)
        yield url
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.live
def test_an_import_runs_through_a_server_that_someone_else_runs(
    theirs: str, tmp_path: Path, registry: OllamaRegistry, hub: Hub
) -> None:
    shelf = Shelf(Settings(tmp_path / "home", f"sqlite:///{tmp_path / 'shared.db'}"))
    shelf.settings.home.mkdir(mode=0o700)
    shelf.settings.config_file.write_text(f'catalog_url = "{shelf.settings.catalog_url}"\n')
    registry.add_model("library/small", "1b", write(tmp_path / "weights", gguf(4096)))

    refused = shelf("up", "--server", theirs, "--detach", check=False)
    assert refused.returncode == 1
    assert "PREFECT_API_AUTH_STRING" in refused.stderr

    environment = {**shelf.environment, "PREFECT_API_AUTH_STRING": SECRET}
    subprocess.run(shelf.command("up", "--server", theirs, "--detach"), env=environment, check=True, capture_output=True)
    try:
        shelf.login(registry, hub)
        shelf("import", f"ollama://{registry.host}/library/small:1b")
        assert [one["model"] for one in shelf.json("list")] == ["small"]
        assert {run["state_type"] for run in PrefectApi(theirs, SECRET).runs(50) if run["name"].startswith("import")} == {
            "COMPLETED"
        }
        before = automations(theirs)
        assert [(one["enabled"], one["trigger"]["within"]) for one in before] == [(True, 540.0)]
        shelf("deploy")
        assert automations(theirs) == before, "one that is as it should be is left alone"
        secret = shelf.settings.secrets / "remote-auth-string"
        assert secret.stat().st_mode & 0o077 == 0
    finally:
        shelf("down")
    assert PrefectApi(theirs, SECRET).is_healthy(), "down leaves a server that is not ours alone"


def automations(url: str) -> list[dict[str, Any]]:
    """Our automations on that server."""
    found = PrefectApi(url, SECRET)._send("POST", "automations/filter", {}, what="the automations")
    return [one for one in found if one["name"].startswith("modelshelf:")]


@flow
def nothing() -> None:
    """Whose runs are only entered into a server."""


async def entered(client: PrefectClient, *, tag: str, then: State[None] | None = None) -> uuid.UUID:
    """A run that is Running and has sent one heartbeat, as Prefect's engine sends it, and then perhaps this state."""
    run = (await client.create_flow_run(nothing, tags=[tag])).id
    await client.set_flow_run_state(run, Running(), force=True)
    async with get_events_client() as events:
        resource = {"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.name": "a run"}
        related = tags_as_related_resources({tag})
        await events.emit(Event(event="prefect.flow-run.heartbeat", resource=Resource(resource), related=related))
    if then is not None:
        await client.set_flow_run_state(run, then, force=True)
    return run


@pytest.mark.live
def test_the_automation_ends_a_silent_run_of_ours_and_no_other(theirs: str) -> None:
    automation = lost_runs()
    quick = automation.trigger.model_copy(update={"within": timedelta(seconds=10)})

    async def states() -> list[str]:
        async with get_client() as client:
            await client.create_automation(automation.model_copy(update={"trigger": quick}))
            runs = [
                await entered(client, tag=TAG),
                await entered(client, tag="theirs"),
                await entered(client, tag=TAG, then=Failed(name="Refused")),
            ]
            end = time.monotonic() + 90
            while not (found := (await client.read_flow_run(runs[0])).state) or not found.is_crashed():
                assert time.monotonic() < end, "the silent run was not ended"
                await asyncio.sleep(0.5)
            return [str(one.state_name) for one in [await client.read_flow_run(run) for run in runs]]

    with temporary_settings({PREFECT_API_URL: f"{theirs}/api", PREFECT_API_AUTH_STRING: SECRET}):
        assert asyncio.run(states()) == ["Crashed", "Running", "Refused"]
