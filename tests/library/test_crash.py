"""Kill any process at any point; the next run completes. Promises 1, 2, 3 and 11, by SIGKILL in real processes."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from modelshelf.catalog import instances, versions
from modelshelf.crash_points import POINTS
from modelshelf.digest import Digest
from modelshelf.library import deletions, running
from modelshelf.library.opening import Library
from modelshelf.nodes import processes
from modelshelf.stop import StopToken
from tests.library.test_launch import ENGINE
from tests.making import P, gguf
from tests.nodes.local import with_settings
from tests.stand_ins.ollama_registry import OllamaRegistry

pytestmark = pytest.mark.live
WEIGHTS = gguf(300_000)


class Lifecycle:
    """A library, a registry, and a child process that goes through everything."""

    def __init__(self, library: Library, registry: OllamaRegistry) -> None:
        program = library.settings.home.parent / "llama-server"
        program.write_text(f"#!{sys.executable}\n{Path(ENGINE).read_text()}")
        program.chmod(0o755)
        self.registry, self.errors = registry, library.settings.home.parent / "errors"
        self.library = with_settings(library, llamacpp_server=str(program))

    def start(self, point: str = "none", nth: int = 1) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.library.crash_child", str(self.library.settings.home), self.registry.host, point]
        with self.errors.open("wb") as errors:
            return subprocess.Popen([*command, str(nth)], stderr=errors)

    def lapse_leases(self) -> None:
        """Half a minute passes: what a killed process held has lapsed by the database's clock."""
        with self.library.catalog.writing() as connection:
            connection.execute(text("UPDATE lease SET expires = 0"))

    def check_promises(self) -> None:
        """No wrong bytes under a digest; no version ready without all of its bytes; one of each."""
        present = {}
        for blob in self.library.store.stored():
            with self.library.store.open(blob.digest) as file:
                assert Digest.of(file.read()) == blob.digest
            present[blob.digest] = blob.size
        with self.library.catalog.reading() as connection:
            found = versions.page(connection, P)
            started = instances.page(connection, P)
            assert len(found) <= 1
            assert len(started) <= 1
            for version in found:
                if version.state == "ready":
                    assert version.image in present
                    assert all(file.digest in present for file in versions.files(connection, P, version.id))
        for replica in (self.library.settings.node / "replicas").glob("[!.]*"):
            assert (replica / "complete.json").exists(), "a replica is complete or absent"

    def check_complete(self) -> None:
        self.check_promises()
        with self.library.catalog.reading() as connection:
            (version,) = versions.page(connection, P)
            (instance,) = instances.page(connection, P)
            files = versions.files(connection, P, version.id)
            assert connection.execute(text("SELECT count(*) FROM hold")).scalar() == 0
        assert version.state == "ready"
        assert version.image is not None
        assert self.library.node.replicas.holds(version.image, files)
        assert running.seen_state(self.library, instance) == ("ready", None)
        assert self.engines() == 1

    def engines(self) -> int:
        """How many processes carry a label of this library's instances."""
        with self.library.catalog.reading() as connection:
            labels = [f"{processes.LABEL}={one.label}".encode() for one in instances.page(connection, P)]
        count = 0
        for entry in Path("/proc").iterdir():
            try:
                environment = (entry / "environ").read_bytes().split(b"\0") if entry.name.isdigit() else []
            except OSError:
                continue
            alive = bool(environment) and processes.identify(int(entry.name)) is not None
            count += alive and any(label in environment for label in labels)
        return count


@pytest.fixture
def lifecycle(library: Library, registry: OllamaRegistry) -> Iterator[Lifecycle]:
    registry.add_model("library/tiny", "1b", WEIGHTS, template="t")
    made = Lifecycle(library, registry)
    yield made
    with made.library.catalog.reading() as connection:
        left = instances.page(connection, P)
    for one in left:
        running.stop_engine(made.library, one)


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize(
    "point", [point for point in POINTS if not point.startswith(("copy.", "delete.", "store.", "audit.", "evict."))]
)
def test_killed_at_a_named_point_the_next_run_completes(lifecycle: Lifecycle, point: str, nth: int) -> None:
    child = lifecycle.start(point, nth)
    status = child.wait(60)
    repeated = point.startswith(("part.", "commit.")) or point == "replica.linked"
    assert status == -signal.SIGKILL or (nth > 1 and not repeated and status == 0), lifecycle.errors.read_text()
    lifecycle.check_promises()
    lifecycle.lapse_leases()
    again = lifecycle.start()
    assert again.wait(60) == 0, lifecycle.errors.read_text()
    lifecycle.check_complete()


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith(("delete.", "store."))])
def test_killed_while_deleting_no_reference_points_at_a_missing_blob_and_the_rest_is_removed(
    lifecycle: Lifecycle, point: str
) -> None:
    assert lifecycle.start(point).wait(60) == -signal.SIGKILL
    lifecycle.check_promises()
    deletions.remove_condemned(lifecycle.library, StopToken())
    assert list(lifecycle.library.store.stored()) == []
    lifecycle.lapse_leases()
    assert lifecycle.start().wait(60) == 0
    lifecycle.check_complete()


def test_killed_fifty_times_at_random_moments_it_completes_in_the_end(lifecycle: Lifecycle) -> None:
    chance = random.Random(20261122)
    lifecycle.registry.faults.pace = 0.02
    for _ in range(50):
        child = lifecycle.start()
        try:
            child.wait(chance.uniform(0.3, 1.6))
        except subprocess.TimeoutExpired:
            child.kill()
        child.wait()
        lifecycle.check_promises()
        lifecycle.lapse_leases()
    lifecycle.registry.faults.pace = 0.0
    again = lifecycle.start()
    assert again.wait(60) == 0, lifecycle.errors.read_text()
    lifecycle.check_complete()
