"""What tests share. `make test` skips live tests whose parts are missing; MODELSHELF_REQUIRE_LIVE=1 makes that a failure."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from modelshelf import crash_points
from modelshelf.catalog.database import Catalog
from modelshelf.library.opening import Library, migrate
from modelshelf.settings import Settings, default_catalog
from modelshelf.sources import hub_environment
from tests.stand_ins import postgres
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

LIVE = "tests/live/"
OUR_THREADS = ("renew ", "hasher", "file", "part", "prove", "register")
"""How the names of the threads that modelshelf starts begin."""


def missing(part: str) -> None:
    """Skip with the reason, or fail where nothing may be missing."""
    if os.environ.get("MODELSHELF_REQUIRE_LIVE"):
        pytest.fail(f"{part} is missing, and here nothing may be")
    pytest.skip(f"{part} is not on this machine")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Run what talks to real services in one process, one after the other, and the rest beside it.

    For this xdist has `loadgroup`, which has no effect in its version 3.8 under pytest 9.2.
    """
    if config.getoption("markexpr") == "not live":
        return None
    from xdist.scheduler import LoadScopeScheduling

    class OneProcessForServices(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return LIVE if nodeid.startswith(LIVE) else nodeid

    return OneProcessForServices(config, log)


@pytest.fixture(autouse=True)
def _nothing_left_over(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No proxy, no home and no crash hook of whoever runs the tests; no thread of ours from one test to the next."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in (*(f"MODELSHELF_{name}_PROXY" for name in ("HTTP", "HTTPS", "ALL")), *hub_environment.NAMES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("MODELSHELF_CATALOG_URL", raising=False)
    before = threading.enumerate()
    yield
    crash_points.on_reach = None
    begun = [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith(OUR_THREADS)]
    for thread in begun:
        thread.join(5)
    assert [thread.name for thread in begun if thread.is_alive()] == [], "the test left threads running"


@pytest.fixture(scope="session")
def empty_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A catalog as the migrations make it; they take a second, so each test copies it."""
    file = tmp_path_factory.mktemp("catalog") / "catalog.db"
    made = Catalog(f"sqlite:///{file}")
    made.migrate()
    made.close()
    return file


@pytest.fixture(scope="session")
def made_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty home folder as `migrate` makes it; see `copy_home`."""
    home = tmp_path_factory.mktemp("made") / "home"
    migrate(Settings(home, default_catalog(home)))
    return home


def copy_home(made: Path, home: Path) -> Settings:
    """Make `home` what `migrate` would have made there, in a tenth of its time: a copy whose markers name the new folders."""
    shutil.copytree(made, home)
    for folder in (home / "store", home / "node"):
        marker = json.loads((folder / "identity.json").read_text())
        (folder / "identity.json").write_text(json.dumps({**marker, "folder": str(folder.resolve())}))
    return Settings(home, default_catalog(home))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_home: Path) -> Settings:
    """An empty home folder with a catalog."""
    settings = copy_home(made_home, tmp_path / "home")
    monkeypatch.setenv("MODELSHELF_HOME", str(settings.home))
    return settings


@pytest.fixture
def library(home: Settings) -> Iterator[Library]:
    opened = Library.open(home)
    yield opened
    opened.catalog.close()


@pytest.fixture
def registry() -> Iterator[OllamaRegistry]:
    with OllamaRegistry() as running:
        yield running


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as running:
        yield running


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of our own on a free loopback port, gone with the session."""
    if (programs := postgres.programs()) is None:
        missing("PostgreSQL")
    assert programs is not None
    with postgres.server(programs, tmp_path_factory.mktemp("postgres")) as url:
        yield url
