"""The library needs of a store what the contract says, and nothing of a folder: here all content lies in memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import BlobMissing, DiskFull
from modelshelf.library import auditing, building, deleting
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.stop import StopToken
from tests.making import P, bring_in, gguf
from tests.stand_ins.memory_source import MemoryPublisher, MemorySource
from tests.stand_ins.memory_store import MemoryStore

WEIGHTS, OTHER = gguf(200_000), gguf(150_000, seed=1)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def shelf(library: Library, store: MemoryStore) -> Library:
    return replace(library, store_at=replace(library.store_at, store=store))


@pytest.fixture
def publisher() -> MemoryPublisher:
    return MemoryPublisher({"tiny.gguf": WEIGHTS, "README.md": b"# tiny"})


@pytest.fixture
def version(shelf: Library, publisher: MemoryPublisher) -> Version:
    return bring_in(shelf, MemorySource(publisher))[0]


def test_an_import_stores_every_blob_and_a_second_one_fetches_nothing(
    shelf: Library, store: MemoryStore, publisher: MemoryPublisher, version: Version
) -> None:
    assert version.state == "ready"
    assert version.image is not None
    with store.open(Digest.of(WEIGHTS)) as file:
        assert file.read() == WEIGHTS
    assert len(list(store.stored())) == 4, "two files, a config and a manifest"
    again, plan = bring_in(shelf, MemorySource(publisher))
    assert (again.id, plan.ready, plan.to_fetch) == (version.id, True, 0)


def test_what_two_versions_share_is_fetched_once_and_a_deletion_frees_the_rest(
    shelf: Library, store: MemoryStore, publisher: MemoryPublisher, version: Version
) -> None:
    publisher.files["README.md"] = b"# tiny, described anew"
    other, plan = bring_in(shelf, MemorySource(publisher))
    assert [str(file.path) for file in plan.files if file.fetch] == ["README.md"]
    before = sum(one.size for one in store.stored())
    deletion = deleting.delete_version(shelf, P, version.ref, who="test")
    assert before - sum(one.size for one in store.stored()) == deletion.frees > 0
    assert store.sizes([Digest.of(WEIGHTS)]), "the other version has it"
    deleting.delete_version(shelf, P, other.ref, who="test")
    assert list(store.stored()) == []


def test_damage_and_loss_are_found_by_an_audit_and_mended_by_an_import(
    shelf: Library, store: MemoryStore, publisher: MemoryPublisher, version: Version
) -> None:
    def audit(repair: bool) -> list[str]:
        found = auditing.audit(shelf, StopToken(), rehash="all", repair=repair, who="test", grace_seconds=-1)
        return sorted(finding.kind for finding in found)

    assert audit(repair=False) == []
    store.alter(Digest.of(WEIGHTS), OTHER[:1000])
    store.lose(Digest.of(b"# tiny"))
    store.put(b"nobody knows this")
    assert audit(repair=True) == ["blob damaged", "blob extra", "blob missing"]
    again, _ = bring_in(shelf, MemorySource(publisher))
    assert (again.id, again.state) == (version.id, "ready")
    assert store.read_through(Digest.of(WEIGHTS), StopToken())[1] == Digest.of(WEIGHTS)
    assert audit(repair=False) == []


def test_an_image_is_built_from_it(shelf: Library, version: Version, tmp_path: Path) -> None:
    building.build(shelf, P, building.plan_build(shelf, P, version.ref, tmp_path / "image"), StopToken())
    assert (tmp_path / "image" / "blobs" / "sha256" / Digest.of(WEIGHTS).hex).read_bytes() == WEIGHTS


def test_errors_name_the_store_as_it_names_itself(
    shelf: Library, store: MemoryStore, publisher: MemoryPublisher, version: Version
) -> None:
    store.free = DEFAULT.free_bytes_kept
    publisher.files["tiny.gguf"] = OTHER
    with pytest.raises(DiskFull, match="^memory needs"):
        bring_in(shelf, MemorySource(publisher))
    with pytest.raises(BlobMissing, match="store memory does not hold"):
        store.open(Digest.of(OTHER))
