"""A Prefect server that someone else runs: modelshelf serves its deployments there and stores nothing in it but runs and blocks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

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
        secret = shelf.settings.secrets / "remote-auth-string"
        assert secret.stat().st_mode & 0o077 == 0
    finally:
        shelf("down")
    assert PrefectApi(theirs, SECRET).is_healthy(), "down leaves a server that is not ours alone"
