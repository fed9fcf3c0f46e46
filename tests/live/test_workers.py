"""Flows in a worker of a work pool, in place of the runner: `workers = true` and `modelshelf deploy`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelshelf.cli import launcher, server_secrets
from modelshelf.settings import Settings, private_folder
from tests.live.conftest import Shelf
from tests.live.test_cut import require_kept_schedules
from tests.making import gguf, write
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live


@pytest.fixture
def shelf(tmp_path: Path, prefect_database: Path) -> Iterator[Shelf]:
    home = tmp_path / "home"
    write(home / "config.toml", b"workers = true\n")
    shutil.copy(prefect_database, private_folder(private_folder(home) / "prefect"))
    made = Shelf(Settings(home, f"sqlite:///{home / 'catalog.db'}", workers=True))
    yield made
    made("down")


def test_a_worker_runs_what_is_deployed_and_no_runner_is_started(
    shelf: Shelf, registry: OllamaRegistry, hub: Hub, tmp_path: Path
) -> None:
    deployed = shelf.json("deploy")
    assert {one["run_by"] for one in deployed} == {"modelshelf"}
    assert {one["deployment"]: one["schedule"] for one in deployed}["warm-up/nightly"] == "30 4 * * *"
    status = shelf.json("status")
    assert (status["server"], status["runner"]) == ("up", "none: workers run the flows")
    running = launcher.Running.read(shelf.settings)
    assert running is not None
    environment = {
        **shelf.environment,
        "PREFECT_API_URL": f"{running.url}/api",
        "PREFECT_API_AUTH_STRING": server_secrets.auth_string(shelf.settings),
        "PREFECT_HOME": str(tmp_path / "worker"),
    }
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "modelshelf"]
    with (tmp_path / "worker.log").open("wb") as log:
        worker = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True)
    try:
        plan = shelf.json("import", str(write(tmp_path / "tiny.gguf", gguf())))
        assert (plan["model"], shelf.json("show", "tiny")["state"]) == ("tiny", "ready")
        shelf.login(registry, hub)
        registry.add_model("library/small", "1b", gguf(seed=3))
        shelf("import", f"ollama://{registry.host}/library/small:1b")
        assert shelf.json("show", "small")["state"] == "ready", "its blocks are known too"
        require_kept_schedules(shelf)
    finally:
        os.killpg(worker.pid, signal.SIGTERM)
        worker.wait(30)
