"""The bytes in the store stay true: what went bad is noticed before it is counted on, cached or served, and mended. Promise 1."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from modelshelf.catalog import versions
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import BlobDamaged
from modelshelf.library import caching, deleting, stamps
from modelshelf.library.opening import Library
from modelshelf.names import ProjectName
from modelshelf.stop import StopToken
from tests.making import P, bring_in, gguf, hub_source, ollama_source, safetensors
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

WEIGHTS = gguf(400_000)
DIGEST = Digest.of(WEIGHTS)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-7])


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


DAMAGE = pytest.mark.parametrize("damage", [flip, cut, link, Path.unlink])


def place(library: Library) -> Path:
    return library.store.root / "blobs" / "sha256" / DIGEST.hex


def check_true(library: Library, version: Version) -> None:
    with library.catalog.reading() as connection:
        for file in versions.files(connection, version.project, version.id):
            with library.store.open(file.digest) as content:
                assert Digest.of(content.read()) == file.digest


def stale(library: Library) -> list[Digest]:
    """Blobs whose recorded stamp is not what the store sees: each would cost a reading."""
    from modelshelf.catalog import blobs

    with library.catalog.reading() as connection:
        names = [digest for digest, _, _ in blobs.recorded(connection, library.store_id)]
        recorded = blobs.recorded_of(connection, library.store_id, names)
    return [digest for digest, row in recorded.items() if row.stamp != library.store.stamps([digest]).get(digest)]


@pytest.fixture
def version(registry: OllamaRegistry, library: Library) -> Version:
    registry.add_model("library/tiny", "1b", WEIGHTS, template="t")
    return bring_in(library, ollama_source(registry))[0]


@DAMAGE
def test_an_import_of_another_project_that_proved_the_right_bytes_puts_them_in_the_place_of_bad_ones(
    registry: OllamaRegistry, library: Library, version: Version, damage: Callable[[Path], None]
) -> None:
    damage(place(library))
    other, _ = bring_in(library, ollama_source(registry), project=ProjectName("b"))
    assert other.state == "ready"
    check_true(library, other)
    check_true(library, version)
    assert stale(library) == []


@DAMAGE
def test_an_import_that_would_count_on_a_damaged_blob_fetches_it_again(
    registry: OllamaRegistry, library: Library, version: Version, damage: Callable[[Path], None]
) -> None:
    damage(place(library))
    registry.add_model("library/other", "1b", WEIGHTS, template="another")
    other, plan = bring_in(library, ollama_source(registry, "library/other:1b"), run="run-2")
    assert plan.to_fetch >= len(WEIGHTS)
    check_true(library, other)
    check_true(library, version)


@DAMAGE
def test_importing_a_ready_version_again_fetches_what_is_damaged_of_it_and_nothing_else(
    registry: OllamaRegistry, library: Library, version: Version, damage: Callable[[Path], None]
) -> None:
    damage(place(library))
    before = registry.body_bytes
    again, plan = bring_in(library, ollama_source(registry), run="run-2")
    assert (again.id, again.image, again.state, plan.ready) == (version.id, version.image, "ready", False)
    assert registry.body_bytes - before == plan.to_fetch == len(WEIGHTS)
    check_true(library, again)
    assert bring_in(library, ollama_source(registry), run="run-3")[1].ready
    with library.catalog.reading() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM hold").scalar() == 0


def test_a_damaged_manifest_of_a_ready_version_is_put_right_by_importing_it_again(
    registry: OllamaRegistry, library: Library, version: Version
) -> None:
    assert version.image is not None
    flip(library.store.path_of(version.image))
    _, plan = bring_in(library, ollama_source(registry), run="run-2")
    assert plan.to_fetch == 0
    assert library.store.read_through(version.image, StopToken())[1] == version.image


def test_a_version_with_files_whose_digest_nobody_tells_is_mended_too(hub: Hub, library: Library) -> None:
    hub.repo("org/m").commit({"README.md": b"# m", "config.json": b"{}", "model.safetensors": safetensors(300_000)})
    version, _ = bring_in(library, hub_source(hub, "org/m"))
    flip(library.store.path_of(Digest.of(b"# m")))
    asked = hub.asked("safetensors")
    again, _ = bring_in(library, hub_source(hub, "org/m"), run="run-2")
    assert (again.id, again.image) == (version.id, version.image)
    check_true(library, again)
    assert hub.asked("safetensors") == asked, "the weights were not fetched again"


@DAMAGE
@pytest.mark.parametrize("cached", [False, True])
def test_caching_and_launching_refuse_a_damaged_blob_with_the_command_that_mends_it(
    registry: OllamaRegistry, library: Library, version: Version, damage: Callable[[Path], None], cached: bool
) -> None:
    if cached:
        caching.fill(library, P, version, StopToken())
    damage(place(library))
    with pytest.raises(BlobDamaged, match=f"modelshelf import {version.source}`"):
        caching.bring(library, P, version, StopToken())
    bring_in(library, ollama_source(registry), run="run-2")
    folder = caching.bring(library, P, version, StopToken())
    assert {Digest.of(path.read_bytes()) for path in folder.rglob("*") if path.is_file()} >= {DIGEST}


def test_a_difference_that_nobody_explains_costs_a_reading_and_never_a_refusal_of_good_bytes(
    library: Library, version: Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.utime(place(library))
    read: list[Digest] = []
    through = type(library.store).read_through

    def noted(store: object, digest: Digest, *rest: object) -> tuple[str, Digest]:
        read.append(digest)
        return through(store, digest, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(type(library.store), "read_through", noted)
    caching.fill(library, P, version, StopToken())
    assert read == [DIGEST]
    caching.fill(library, P, version, StopToken())
    assert read == [DIGEST], "it was proven, and has a new stamp"


def test_links_that_we_make_and_remove_cost_no_reading(registry: OllamaRegistry, library: Library, version: Version) -> None:
    assert stale(library) == []
    caching.fill(library, P, version, StopToken())
    assert stale(library) == []
    caching.evict(library, P, version.ref, who="test")
    assert stale(library) == []
    registry.add_model("library/other", "1b", gguf(1000), template="t")
    other, _ = bring_in(library, ollama_source(registry, "library/other:1b"), run="run-2")
    caching.fill(library, P, other, StopToken())
    deleting.delete_version(library, P, other.ref, who="test")
    assert stale(library) == [], "the template that both share too"


def test_a_write_between_two_links_of_ours_is_still_noticed(library: Library, version: Version) -> None:
    with stamps.linking(library, [DIGEST]):
        os.link(place(library), library.settings.home / "a-link")
        flip(place(library))
    assert stale(library) == [DIGEST]
    assert stamps.check(library, [DIGEST], StopToken()).bad.keys() == {DIGEST}


def test_what_is_looked_at_for_a_plan_changes_no_stamp(library: Library, version: Version) -> None:
    os.utime(place(library))
    assert stamps.check(library, [DIGEST], StopToken(), record=False).whole.keys() == {DIGEST}
    assert stale(library) == [DIGEST]
