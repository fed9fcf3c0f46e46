"""What looks at everything asks the catalog as often for fourteen replicas as for two."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from modelshelf.catalog import versions
from modelshelf.cli.main import cli
from modelshelf.library import auditing, caching, disk, metrics, observing
from modelshelf.library.opening import Library
from modelshelf.settings import Settings
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri
from modelshelf.stop import StopToken
from tasks.reports import library_page
from tests.counting import asked_of_the_catalog
from tests.making import P, bring_in, gguf, record_instance, write

COUNTS = (2, 6, 14)


def audit(library: Library) -> None:
    found = auditing.audit(library, StopToken(), rehash="none", repair=False, who="test", grace_seconds=0)
    assert {one.kind for one in found} <= {"instance gone"}, "the instances exist in the catalog alone"


def command(*arguments: str) -> Callable[[Library], None]:
    def run(_library: Library) -> None:
        done = CliRunner().invoke(cli, arguments)
        assert done.exit_code == 0, done.output

    return run


JOBS: dict[str, tuple[Callable[[Library], object], int]] = {
    "observe": (observing.observe, 6),
    "audit": (audit, 13),
    "disk": (lambda library: disk.report(library, P), 9),
    "metrics": (metrics.write_metrics, 6),
    "the library's page": (library_page, 4),
    "list": (command("list"), 10),
    "nodes": (command("nodes"), 10),
    "disk, as a command": (command("disk"), 15),
}
"""Each with the most statements that it may take."""


def fill(library: Library, folder: Path, many: int) -> None:
    """Bring in and cache versions until there are so many; each has a template of its own, and an instance that was stopped."""
    with library.catalog.reading() as connection:
        present = len(versions.page(connection, P))
    for number in range(present, many):
        write(folder / f"model-{number}" / "model.gguf", gguf(2000, seed=number))
        version, _ = bring_in(library, FolderSource(FolderUri(folder / f"model-{number}")))
        caching.fill(library, P, version, StopToken())
        with library.catalog.writing() as connection:
            record_instance(connection, library.node_id, version, name=f"chat-{number}")


@pytest.fixture
def asked(library: Library, home: Settings, tmp_path: Path) -> dict[str, list[int]]:
    """The number of statements of each job, for each count of replicas."""
    del home
    found: dict[str, list[int]] = {}
    for many in COUNTS:
        fill(library, tmp_path, many)
        observing.observe(library)  # what it concludes is written once
        for name, (job, _) in JOBS.items():
            with asked_of_the_catalog() as asked:
                job(library)
            found.setdefault(name, []).append(len(asked))
    return found


def test_who_looks_at_everything_asks_as_often_whatever_there_is(asked: dict[str, list[int]]) -> None:
    assert {name: counts for name, counts in asked.items() if len(set(counts)) > 1} == {}
    assert {name: counts[0] for name, counts in asked.items() if counts[0] > JOBS[name][1]} == {}
