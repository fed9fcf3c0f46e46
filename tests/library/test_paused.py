"""A process that is paused (SIGSTOP, a suspended machine) and wakes destroys nothing that came into use meanwhile. Promise 4."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from modelshelf.catalog import versions
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import BlobBeingDeleted
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.store.directory import DirectoryStore
from tests.interrupted import Children
from tests.library import verbs
from tests.making import P, bring_in, gguf, ollama_source
from tests.stand_ins.ollama_registry import OllamaRegistry

WEIGHTS = gguf(300_000)
VERBS = "tests.library.verbs"


@pytest.fixture
def children(library: Library, registry: OllamaRegistry) -> Iterator[Children]:
    registry.add_model("library/tiny", "1b", WEIGHTS, template="t")
    with Children(library.settings.home, registry.host) as running:
        yield running


def impatient(library: Library) -> Library:
    store = DirectoryStore(library.store.root, replace(DEFAULT, lock_seconds=0.3))
    return replace(library, store_at=replace(library.store_at, store=store))


def check_whole(library: Library) -> None:
    """Every ready version has all its bytes, true; and the audit has nothing to tell."""
    with library.catalog.reading() as connection:
        for version in versions.page(connection, P):
            assert version.state == "ready"
            for file in versions.files(connection, P, version.id):
                with library.store.open(file.digest) as content:
                    assert Digest.of(content.read()) == file.digest


def ready(library: Library) -> list[Version]:
    with library.catalog.reading() as connection:
        return [one for one in versions.page(connection, P) if one.state == "ready"]


@pytest.mark.parametrize("point", ["delete.row_gone", "delete.manifest_gone", "delete.blob_gone"])
@pytest.mark.parametrize("verb", ["delete", "clean"])
def test_a_deletion_that_wakes_after_the_same_bytes_were_imported_again_leaves_them(
    library: Library, registry: OllamaRegistry, children: Children, verb: str, point: str
) -> None:
    bring_in(library, ollama_source(registry))
    if verb == "clean":
        with library.catalog.writing() as connection:
            connection.exec_driver_sql("DELETE FROM alias")
    assert children.run(f"{VERBS}:{verb}", at=point, signal="STOP") == "stopped"
    if point == "delete.blob_gone":  # it sleeps inside the lock of that blob: who wants it waits, and is told for whom
        with pytest.raises(BlobBeingDeleted, match="process [0-9]+, which is stopped"):
            bring_in(impatient(library), ollama_source(registry))
    else:
        bring_in(library, ollama_source(registry))
        check_whole(library)
    assert children.wake() == 0, children.error
    bring_in(library, ollama_source(registry), run="run-3")
    assert len(ready(library)) == 1
    check_whole(library)


def test_a_deletion_that_sleeps_just_before_it_unlinks_is_waited_for_and_does_not_unlink_what_came_after(
    library: Library, registry: OllamaRegistry, children: Children
) -> None:
    bring_in(library, ollama_source(registry))
    assert children.run(f"{VERBS}:delete", at="store.unlinking", signal="STOP") == "stopped"
    with pytest.raises(BlobBeingDeleted, match="stopped"):
        bring_in(impatient(library), ollama_source(registry))
    assert children.wake() == 0, children.error
    bring_in(library, ollama_source(registry), run="run-3")
    check_whole(library)


@pytest.mark.parametrize("point", ["delete.row_gone", "delete.manifest_gone", "store.unlinking", "delete.blob_gone"])
def test_a_deletion_that_was_killed_never_blocks_an_import_of_the_same_model_or_of_one_that_shares_a_blob(
    library: Library, registry: OllamaRegistry, children: Children, point: str
) -> None:
    registry.add_model("library/other", "1b", WEIGHTS, template="another")
    for model in ("tiny", "other"):
        bring_in(library, ollama_source(registry))
        assert children.run(f"{VERBS}:delete", at=point) == -9
        bring_in(library, ollama_source(registry, f"library/{model}:1b"))
        check_whole(library)
        assert len(ready(library)) == 1
        verbs.delete(library, "", model)
        assert list(library.store.stored()) == []


def test_an_audit_that_wakes_removes_nothing_that_was_adopted_meanwhile(
    library: Library, registry: OllamaRegistry, children: Children
) -> None:
    bring_in(library, ollama_source(registry))
    with library.catalog.writing() as connection:  # the bytes are there, and nobody knows them
        for table in ("alias", "version", "image_file", "image", "blob"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
    assert children.run(f"{VERBS}:repair", at="audit.mending", signal="STOP") == "stopped"
    bring_in(library, ollama_source(registry))
    assert children.wake() == 0, children.error
    check_whole(library)
    assert len(ready(library)) == 1


def test_an_audit_that_wakes_leaves_a_damaged_blob_that_was_replaced_meanwhile(
    library: Library, registry: OllamaRegistry, children: Children
) -> None:
    version, _ = bring_in(library, ollama_source(registry))
    path = library.store.path_of(Digest.of(WEIGHTS))
    path.chmod(0o644)
    path.write_bytes(WEIGHTS[:-1] + bytes([WEIGHTS[-1] ^ 1]))
    assert children.run(f"{VERBS}:repair", at="audit.mending", signal="STOP") == "stopped"
    bring_in(library, ollama_source(registry), run="run-2")
    assert children.wake() == 0, children.error
    assert [one.id for one in ready(library)] == [version.id]
    check_whole(library)


def test_a_clean_up_of_abandoned_downloads_that_wakes_leaves_one_that_went_on(
    library: Library, registry: OllamaRegistry, children: Children
) -> None:
    """Its own process sleeps with the lock of the file: then nobody else goes on with it, and both end well."""
    with library.store.begin(Digest.of(WEIGHTS), len(WEIGHTS)) as place:
        place.write_at(0, WEIGHTS[:1000])
    assert children.run(f"{VERBS}:discard", operation=1, signal="STOP") == "stopped"
    bring_in(library, ollama_source(registry))
    assert children.wake() == 0, children.error
    check_whole(library)
    assert list((library.store.root / "ingest").iterdir()) == []
