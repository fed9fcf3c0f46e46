"""One damaged version, or a full disk, is reported, and ends nothing that has no part in it. Promise 12."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from modelshelf.catalog import replicas
from modelshelf.catalog.versions import Version
from modelshelf.errors import CatalogDiskFull
from modelshelf.library import auditing, caching, naming
from modelshelf.library.metrics import write_metrics
from modelshelf.library.observing import observe
from modelshelf.library.opening import Library
from modelshelf.names import ModelName, ProjectName
from modelshelf.stop import StopToken
from tests.making import P, bring_in, gguf, ollama_source
from tests.stand_ins.ollama_registry import OllamaRegistry


def brought(library: Library, registry: OllamaRegistry, *names: str, project: ProjectName = P) -> list[Version]:
    made = []
    for number, name in enumerate(names):
        registry.add_model(f"library/{name}", "1b", gguf(seed=number), template=name)
        made.append(bring_in(library, ollama_source(registry, f"library/{name}:1b"), project=project)[0])
    return made


def lose_weights(library: Library, version: Version) -> None:
    """The largest blob of the version is gone from the store."""
    with library.catalog.reading() as connection:
        digest = connection.execute(
            text("SELECT digest FROM image_file WHERE image = :image ORDER BY size DESC LIMIT 1"), {"image": str(version.image)}
        ).scalar_one()
    (library.settings.store / "blobs" / "sha256" / digest.removeprefix("sha256:")).unlink()


def test_one_damaged_version_does_not_end_the_warm_up_of_the_others(library: Library, registry: OllamaRegistry) -> None:
    first, second = brought(library, registry, "a", "b")
    for version in (first, second):
        naming.mark(library, P, version.ref, who="test", auto_cache=True)
    lose_weights(library, first)
    damaged, whole = caching.warm_up(library, StopToken())
    assert (damaged.ref, damaged.there) == (str(first.ref), False)
    assert damaged.outcome.startswith("failed: ")
    assert (whole.ref, whole.outcome) == (str(second.ref), "cached")


def test_reconcile_and_metrics_go_on_after_a_repair_has_failed_a_version(library: Library, registry: OllamaRegistry) -> None:
    first, second = brought(library, registry, "a", "b")
    for version in (first, second):
        caching.fill(library, P, version, StopToken())
    lose_weights(library, first)
    auditing.audit(library, StopToken(), rehash="none", repair=True, who="test", grace_seconds=0)
    for _ in range(2):
        seen = {one["what"]: one["seen"] for one in observe(library)}
        assert seen == {f"replica of {first.ref}": "absent", f"replica of {second.ref}": "present"}
    assert "modelshelf_replicas" in write_metrics(library).read_text()


def test_a_replica_is_named_with_its_project(library: Library, registry: OllamaRegistry) -> None:
    (mine,) = brought(library, registry, "a")
    (theirs,) = brought(library, registry, "a", project=ProjectName("other"))
    for owner, version in ((P, mine), (ProjectName("other"), theirs)):
        caching.fill(library, owner, version, StopToken())
    with library.catalog.reading() as connection:
        named = {one.ref for one in replicas.kept(connection, library.node_id)}
    assert named == {str(mine.ref), str(theirs.ref)}
    assert len(named) == 2
    assert theirs.model == ModelName("a")


def test_a_catalog_without_room_says_so_with_the_free_bytes(library: Library) -> None:
    with pytest.raises(CatalogDiskFull, match=r"disk is full: .*full; [\d,]+ bytes are free beside it.*Free some space"), (
        library.catalog.writing()
    ) as connection:  # fmt: skip
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
        connection.execute(text(f"PRAGMA max_page_count = {pages}"))
        for number in range(10_000):
            connection.execute(text("INSERT INTO project (name) VALUES (:name)"), {"name": f"p{number:060}"})
    with library.catalog.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM project WHERE name LIKE 'p0%'")).scalar_one() == 0
