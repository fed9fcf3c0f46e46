"""Every command that starts a run asks for a deployment that there is, with parameters that its flow takes."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from prefect.flows import Flow, load_flow_from_entrypoint

from modelshelf.cli import server_secrets
from modelshelf.cli.deployments import Deployment
from modelshelf.cli.errors import RunFailed
from modelshelf.cli.main import cli
from modelshelf.cli.state_file import Program, Running
from modelshelf.library.opening import Library
from modelshelf.nodes import processes
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri
from tests.making import bring_in, gguf, write
from tests.stand_ins.http import StandIn

ROOT = Path(__file__).parent.parent.parent
COMMANDS = {
    "import ollama://qwen3:0.6b --name q --category chat --no-wait": Deployment.IMPORT_OLLAMA,
    "import hf://org/repo@v1:Q8_0 --include *.gguf --hub mine --no-wait": Deployment.IMPORT_HUGGINGFACE,
    "import {folder} --exclude *.md --allow-code --dry-run --no-wait": Deployment.IMPORT_FOLDER,
    "register fs://shared/models/mine --hash --no-wait": Deployment.REGISTER_FILESYSTEM,
    "save chat-1 qwen3:tuned --no-wait": Deployment.SAVE_FROM_INSTANCE,
    "cache tiny --pin --auto --no-wait": Deployment.CACHE_VERSION,
    "evict tiny": Deployment.EVICT_REPLICA,
    "launch tiny --cpus 2 --memory 2GB --env A=1 --no-wait -- --verbose": Deployment.LAUNCH_INSTANCE,
    "launch --template both --no-wait": Deployment.LAUNCH_INSTANCE,
    "run tiny hello": Deployment.LAUNCH_INSTANCE,
    "stop chat-1 --no-wait": Deployment.STOP_INSTANCE,
    "delete --instance chat-1 --no-wait": Deployment.STOP_INSTANCE,
    "restart chat-1 --no-wait": Deployment.RESTART_INSTANCE,
    "switch chat-1 tiny --no-wait": Deployment.SWITCH_INSTANCE,
    "template define both a=tiny b=tiny --env A=1": Deployment.DEFINE_TEMPLATE,
    "template delete both": Deployment.DELETE_TEMPLATE,
    "alias tiny stable": Deployment.CHANGE_VERSION,
    "category tiny embedding": Deployment.CHANGE_VERSION,
    "disable tiny": Deployment.CHANGE_VERSION,
    "enable tiny": Deployment.CHANGE_VERSION,
    "unpin tiny": Deployment.CHANGE_VERSION,
    "no-auto tiny": Deployment.CHANGE_VERSION,
    "delete tiny --no-wait": Deployment.DELETE_VERSION,
    "build tiny {folder}/image --no-wait": Deployment.BUILD_IMAGE,
    "clean --keep 3 --days 1.5 --dry-run --no-wait": Deployment.CLEAN,
    "audit --rehash part --repair --no-wait": Deployment.AUDIT,
}
BY_ITSELF = {
    Deployment.WARM_UP,
    Deployment.AUDIT_PART,
    Deployment.RECONCILE,
    Deployment.RECOVER_INSTANCE,
    Deployment.REFILL_REPLICA,
}
"""What no command starts: schedules and other flows do."""


class Prefect(StandIn):
    """A server that takes every run, and refuses it at once."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[str, dict[str, Any]]] = []

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length", 0)))
        path = request.path.removeprefix("/api/")
        if path.startswith("deployments/name/"):
            return self._json(request, {"id": path.removeprefix("deployments/name/")})
        if path.endswith("/create_flow_run"):
            deployment = path.removeprefix("deployments/").removesuffix("/create_flow_run")
            self.made.append((deployment, json.loads(body)["parameters"]))
        if path == "logs/filter":
            return self._json(request, [{"name": "x", "task_run_id": None, "message": "Finished in state Refused"}])
        state = {"message": "Refused by the stand-in.", "timestamp": datetime.now(UTC).isoformat()}
        run = {"id": str(uuid.uuid4()), "name": "a run", "state_type": "FAILED", "state_name": "Refused", "state": state}
        return self._json(request, {**run, "token": "t"})

    def _json(self, request: BaseHTTPRequestHandler, value: Any) -> None:
        self.send(request, 200, json.dumps(value).encode())


@pytest.fixture
def prefect(library: Library) -> Iterator[Prefect]:
    settings = library.settings
    with Prefect() as running:
        server_secrets.keep_remote_auth_string(settings, "")
        Running(running.url, None, processes.identify(os.getpid()), Program.here(settings)).write(settings)
        yield running


@pytest.fixture(scope="module")
def flows() -> dict[str, Flow[..., Any]]:
    loaded = {}
    for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        flow: Flow[..., Any] = load_flow_from_entrypoint(one["entrypoint"], use_placeholder_flow=False)
        loaded[f"{flow.name}/{one['name']}"] = flow
    return loaded


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_asks_for_its_deployment_with_parameters_that_the_flow_takes(
    prefect: Prefect, library: Library, flows: dict[str, Flow[..., Any]], tmp_path: Path, command: str
) -> None:
    folder = write(tmp_path / "tiny" / "tiny.gguf", gguf()).parent
    bring_in(library, FolderSource(FolderUri(folder)))
    words = [word.format(folder=folder) for word in command.split()]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 0 or isinstance(result.exception, RunFailed), (result.output, result.exception)
    ((deployment, parameters),) = prefect.made
    assert deployment == COMMANDS[command]
    flow = flows[deployment]
    assert parameters.keys() <= flow.parameters.properties.keys()
    flow.validate_parameters(parameters)


def test_every_deployment_is_started_by_a_command_or_by_itself() -> None:
    assert {*COMMANDS.values()} | BY_ITSELF == set(Deployment)
