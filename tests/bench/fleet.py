"""One pass over a large fleet, and how often a job asks: what `reconcile` costs at 1,000 nodes with 10,000 versions each."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import text

from modelshelf.catalog import recoveries
from modelshelf.catalog.database import Catalog
from modelshelf.library import auditing, caching, disk, observing
from modelshelf.library.opening import Library, migrate
from modelshelf.limits import DEFAULT
from modelshelf.settings import Settings
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FolderUri
from modelshelf.stop import StopToken
from tests.bench.downloads import Row
from tests.counting import asked_of_the_catalog
from tests.making import P, bring_in, gguf, ollama_source, write
from tests.stand_ins import postgres
from tests.stand_ins.ollama_registry import OllamaRegistry

NODES, VERSIONS, LOST = 1_000, 10_000, 1_000
_INDEX = "CREATE INDEX ix_replica_differing ON replica (coalesce(next_try, 0), node_id, version_id) WHERE desired <> observed"


def measure(folder: Path) -> Iterator[Row]:
    work = folder / "fleet"
    work.mkdir()
    yield from _counts(work)
    yield from _passes(Catalog(f"sqlite:///{work / 'fleet.db'}"), "SQLite")
    (work / "fleet.db").unlink()
    if (programs := postgres.programs()) is not None:
        (work / "postgres").mkdir()
        with postgres.server(programs, work / "postgres") as server:
            yield from _passes(Catalog(postgres.new_database(server)), "PostgreSQL")


def _passes(catalog: Catalog, database: str) -> Iterator[Row]:
    catalog.migrate()
    _fill(catalog)
    what = f"differ at {NODES:,} nodes x {VERSIONS:,} versions, {LOST:,} lost, {database}"
    yield Row(f"{what}, in ms", _differ(catalog), 1000, 1.0)
    with catalog.writing() as connection:
        connection.execute(text(_INDEX))
    yield Row("  with an index of what differs, in ms", _differ(catalog), 1000, 1.0)
    with asked_of_the_catalog() as asked, catalog.reading() as connection:
        tracemalloc.start()
        found = recoveries.differing(connection, DEFAULT)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert len(found) == DEFAULT.differing_at_once
    yield Row("  statements", len(asked), 1, 1.0)
    yield Row("  memory, in MB", most / 1e6, 10, 1.0)
    catalog.close()


def _differ(catalog: Catalog) -> float:
    took = []
    for _ in range(3):
        began = time.monotonic()
        with catalog.reading() as connection:
            recoveries.differing(connection, DEFAULT)
        took.append((time.monotonic() - began) * 1000)
    return sorted(took)[1]


def _fill(catalog: Catalog) -> None:
    """Every node should have every version; every so-many-th replica is lost."""
    numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {many}) "
    statements = [
        "DROP INDEX ix_replica_version_id",
        "INSERT INTO project VALUES (1, 'default')",
        "INSERT INTO model VALUES (1, 1, 'm', 'private', 'chat')",
        "INSERT INTO image VALUES ('sha256:0', 'sha256:1', 'gguf', 1, '{}')",
        numbers.format(many=VERSIONS)
        + "INSERT INTO version (id, model_id, name, source, requested, resolved, image, state, created_at, ready_at)"
        " SELECT i, 1, 'v-' || i, 's', '', 'r', 'sha256:0', 'ready', 1.0, 1.0 FROM n",
        numbers.format(many=NODES)
        + "INSERT INTO node (id, name, region, kind, labels) SELECT i, 'node-' || i, 'r', 'local', '{}' FROM n",
        f"INSERT INTO replica (node_id, version_id, desired, observed, pinned) SELECT node.id, version.id, 'present',"
        f" CASE WHEN (node.id * 7919 + version.id) % {NODES * VERSIONS // LOST} = 0 THEN 'absent' ELSE 'present' END, false"
        " FROM node CROSS JOIN version ORDER BY node.id, version.id",
        "CREATE INDEX ix_replica_version_id ON replica (version_id)",
    ]
    with catalog.writing() as connection:
        for statement in statements:
            connection.execute(text(statement))
        connection.execute(text("ANALYZE"))


def _counts(work: Path) -> Iterator[Row]:
    """Statements and requests: what tests hold as bounds, beside what it was before each was counted."""
    from flows.launch_instance import launch_instance
    from tasks.library import working_on
    from tests.library.test_launch import with_engine

    settings = Settings(work / "home", f"sqlite:///{work / 'home' / 'catalog.db'}")
    migrate(settings)
    library = with_engine(Library.open(settings), work)
    with OllamaRegistry() as registry:
        registry.add_model("library/tiny", "1b", gguf(), template="t", params="{}")
        registry.token = "token-0"
        with asked_of_the_catalog() as asked:
            bring_in(library, ollama_source(registry))
        paths = [path for _, path, _ in registry.requests]
    yield Row("statements of one import", len(asked), 44, 0.6)
    yield Row("requests before its first blob", next(n for n, path in enumerate(paths) if "/blobs/" in path), 7, 0.6)
    with working_on(library, "bench"):
        asyncio.run(launch_instance.fn(model="tiny", instance="first", engine="llamacpp"))
        with asked_of_the_catalog() as asked:
            asyncio.run(launch_instance.fn(model="tiny", instance="second", engine="llamacpp"))
    yield Row("statements of one cached launch", len(asked), 57, 0.5)
    _stop(library)
    for number in range(14):
        folder = write(work / f"model-{number}" / "model.gguf", gguf(2000, seed=number)).parent
        caching.fill(library, P, bring_in(library, FolderSource(FolderUri(folder)))[0], StopToken())
    for name, before, job in (
        ("observe", 72, lambda: observing.observe(library)),
        ("audit", 76, lambda: auditing.audit(library, StopToken(), rehash="none", repair=False, who="bench")),
        ("disk", 143, lambda: disk.report(library, P)),
    ):
        with asked_of_the_catalog() as asked:
            job()
        yield Row(f"statements of {name} with 15 replicas", len(asked), before, 0.2)


def _stop(library: Library) -> None:
    from modelshelf.catalog import instances
    from modelshelf.library import running

    with library.catalog.reading() as connection:
        found = instances.page(connection, P)
    for one in found:
        running.stop_instance(library, P, one.name, "bench")
