"""Two homes on one catalog never take each other's store and node for theirs. Promise 4; decision 0021."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from modelshelf.catalog import instances, versions
from modelshelf.catalog.database import Catalog
from modelshelf.errors import BadMarker, OtherHome
from modelshelf.library import auditing, caching
from modelshelf.library.identity import Marker
from modelshelf.library.opening import Library, migrate
from modelshelf.settings import Settings
from modelshelf.stop import StopToken
from tests.making import P, bring_in, gguf, ollama_source, record_instance
from tests.stand_ins.ollama_registry import OllamaRegistry


@pytest.fixture
def shared(home: Settings, registry: OllamaRegistry) -> Library:
    """A library with a version and a replica, on a catalog that lies outside its home."""
    settings = replace(home, catalog_url=f"sqlite:///{home.home.parent / 'shared.db'}")
    migrate(settings)
    made = Library.open(settings)
    registry.add_model("library/tiny", "1b", gguf(), template="t")
    version, _ = bring_in(made, ollama_source(registry))
    caching.fill(made, P, version, StopToken())
    return made


def second(first: Library) -> Settings:
    """Another home on the same catalog."""
    home = first.settings.home.parent / "second"
    return Settings(home, first.settings.catalog_url, region="us-1")


def findings(library: Library, *, repair: bool = False) -> list[str]:
    return [one.kind for one in auditing.audit(library, StopToken(), rehash="none", repair=repair, who="test")]


def test_a_second_home_on_one_catalog_is_refused_with_the_two_ways_out(shared: Library) -> None:
    with pytest.raises(OtherHome, match=r"catalog of this home's own.*--take-over"):
        migrate(second(shared))
    with pytest.raises(OtherHome):
        Library.open(second(shared))
    assert findings(shared) == []


def test_a_second_home_is_refused_also_before_the_first_one_was_marked(shared: Library) -> None:
    unmark(shared)
    with pytest.raises(OtherHome, match="none of the content"):
        migrate(second(shared))


def test_an_existing_home_without_markers_is_adopted_silently(shared: Library) -> None:
    unmark(shared)
    assert findings(Library.open(shared.settings)) == []  # reading before `up` adopts works, and writes nothing
    assert Marker.read(shared.settings.store) is None
    migrate(shared.settings)
    with shared.catalog.reading() as connection:
        rows = connection.execute(text("SELECT identity FROM store UNION ALL SELECT identity FROM node")).scalars().all()
    markers = [Marker.read(folder) for folder in (shared.settings.store, shared.settings.node)]
    assert [marker.identity for marker in markers if marker] == rows
    assert len(set(rows)) == 2


def test_a_new_owner_has_to_be_named_and_the_former_one_is_refused_then(shared: Library) -> None:
    other = second(shared)
    migrate(other, take_over=True)
    found = Library.open(other)
    assert "blob missing" in findings(found)
    with pytest.raises(OtherHome):
        Library.open(shared.settings)
    with pytest.raises(OtherHome):
        migrate(shared.settings)


def test_a_lost_marker_has_a_way_out_that_keeps_everything(shared: Library) -> None:
    (shared.settings.store / "identity.json").unlink()
    with pytest.raises(OtherHome, match=r"marker was lost.*--take-over"):
        Library.open(shared.settings)
    migrate(shared.settings, take_over=True)
    assert findings(Library.open(shared.settings)) == []


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"identity": "x", "folder": "", "machine": ""}', "\0"])
def test_a_damaged_marker_is_refused_by_name(shared: Library, content: str) -> None:
    (shared.settings.node / "identity.json").write_text(content)
    with pytest.raises(BadMarker, match=r"node/identity\.json.*--take-over"):
        Library.open(shared.settings)
    migrate(shared.settings, take_over=True)
    assert findings(Library.open(shared.settings)) == []


def test_a_copied_home_is_refused_and_a_moved_one_is_not(shared: Library) -> None:
    copy = replace(shared.settings, home=shared.settings.home.parent / "copy")
    shutil.copytree(shared.settings.home, copy.home)
    with pytest.raises(OtherHome, match="is a copy of"):
        Library.open(copy)
    with pytest.raises(OtherHome, match="is a copy of"):
        migrate(copy)
    shutil.rmtree(shared.settings.home)
    assert findings(Library.open(copy)) in ([], ["replica gone"])  # `copytree` copies links as files
    migrate(copy)
    marker = Marker.read(copy.store)
    assert marker is not None
    assert marker.folder == str(copy.store)


def test_a_copied_home_with_its_catalog_inside_becomes_a_library_that_stops_no_engine_of_the_first(
    library: Library, registry: OllamaRegistry
) -> None:
    registry.add_model("library/tiny", "1b", gguf(), template="t")
    version, _ = bring_in(library, ollama_source(registry))
    with library.catalog.writing() as connection:
        recorded = record_instance(connection, library.node_id, version)
        instances.change(connection, recorded.id, state="ready", process={"pid": 1, "started": 1, "boot": "b"})
    home = library.settings.home.parent / "copy"
    shutil.copytree(library.settings.home, home)
    copy = Settings(home, f"sqlite:///{home / 'catalog.db'}")
    with pytest.raises(OtherHome, match="library of its own"):
        Library.open(copy)
    migrate(copy, take_over=True)
    with Library.open(copy).catalog.reading() as connection:
        found = instances.find(connection, P, recorded.name)
    assert (found.state, found.handle) == ("stopped", None)
    assert found.label != recorded.label
    Library.open(library.settings)  # the first one goes on


def test_a_folder_that_another_machine_marked_is_refused(shared: Library) -> None:
    file = shared.settings.store / "identity.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "machine": "0" * 32}))
    with pytest.raises(OtherHome, match="another machine"):
        Library.open(shared.settings)


def test_a_catalog_of_another_library_put_in_place_of_ours_is_refused(shared: Library, tmp_path: Path) -> None:
    other = Settings(tmp_path / "other", f"sqlite:///{tmp_path / 'other.db'}")
    migrate(other)
    with pytest.raises(OtherHome):
        Library.open(replace(shared.settings, catalog_url=other.catalog_url))


def test_a_new_catalog_for_an_old_home_takes_its_markers(shared: Library, tmp_path: Path) -> None:
    before = Marker.read(shared.settings.store)
    fresh = replace(shared.settings, catalog_url=f"sqlite:///{tmp_path / 'fresh.db'}")
    migrate(fresh)
    assert Marker.read(fresh.store) == before
    Library.open(fresh)


def test_opening_writes_nothing_and_does_not_wait_for_a_writer(shared: Library) -> None:
    import time

    with shared.catalog.writing() as connection:
        connection.execute(text("UPDATE node SET budget = 5"))
        began = time.monotonic()
        with Library.open(shared.settings).catalog.reading() as reading:
            assert len(versions.page(reading, P)) == 1
        assert time.monotonic() - began < 5  # a writer is waited for 30 s


def unmark(library: Library) -> None:
    """As a home was before there were markers."""
    for folder in (library.settings.store, library.settings.node):
        (folder / "identity.json").unlink()
    with Catalog(library.settings.catalog_url).writing() as connection:
        for table in ("store", "node"):
            connection.execute(text(f"UPDATE {table} SET identity = NULL"))
