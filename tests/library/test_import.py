"""Imports as a whole: what is fetched, what is shared, what is refused, who wins."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text, update

from modelshelf.catalog import versions
from modelshelf.catalog.tables import lease as lease_table
from modelshelf.digest import Digest
from modelshelf.errors import (
    ConnectionCut,
    DigestMismatch,
    DiskFull,
    LeaseLost,
    LicenseRefused,
    ModelshelfError,
    NamesCode,
    NameTaken,
    Refused,
    StillInUse,
)
from modelshelf.library import caching, deleting, importing, observing
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.names import ModelRef, ProjectName
from modelshelf.sources.contract import Source
from modelshelf.stop import StopToken
from tests.making import SMALL, P, bring_in, gguf, hub_source, ollama_source, record_instance, safetensors
from tests.stand_ins.hub import Hub
from tests.stand_ins.ollama_registry import OllamaRegistry

WEIGHTS = gguf(400_000)


def test_importing_again_fetches_nothing(registry: OllamaRegistry, library: Library) -> None:
    registry.add_model("library/tiny", "1b", WEIGHTS)
    first, _ = bring_in(library, ollama_source(registry))
    before = registry.body_bytes
    second, plan = bring_in(library, ollama_source(registry), run="run-2")
    assert (second.id, plan.ready, registry.body_bytes) == (first.id, True, before)


def test_a_tag_that_its_publisher_moves_back_names_the_earlier_version_again(registry: OllamaRegistry, library: Library) -> None:
    earlier = registry.add_model("library/tiny", "1b", WEIGHTS, template="one")
    first, _ = bring_in(library, ollama_source(registry))
    registry.add_model("library/tiny", "1b", WEIGHTS, template="two")
    second, _ = bring_in(library, ollama_source(registry), run="run-2")
    registry.manifests["library/tiny", "1b"] = earlier
    again, plan = bring_in(library, ollama_source(registry), run="run-3")
    with library.catalog.reading() as connection:
        named = versions.find(connection, P, ModelRef.parse("tiny:1b"))
    assert (named.id, again.id, plan.ready) == (first.id, first.id, True)
    assert second.id != first.id


def test_a_plan_counts_what_an_earlier_try_brought(registry: OllamaRegistry, library: Library) -> None:
    registry.add_model("library/tiny", "1b", WEIGHTS)
    faults = registry.faults
    faults.cut_after, faults.cuts = 0, 10_000

    def let_three_parts_through() -> None:
        faults.cuts = 0 if registry.body_bytes < 3 * SMALL.part_bytes else 10_000

    faults.before_body = let_three_parts_through
    with pytest.raises(ConnectionCut):
        bring_in(library, ollama_source(registry))
    faults.before_body, faults.cuts = None, 0
    there = next(library.store.arriving()).arrived
    _, plan = bring_in(library, ollama_source(registry), run="run-2")
    assert there >= 3 * SMALL.part_bytes
    assert (plan.resumed, plan.moved) == (there, plan.to_fetch - there)


def test_the_same_weights_from_the_other_kind_of_source_are_not_fetched_again(
    registry: OllamaRegistry, hub: Hub, library: Library
) -> None:
    registry.add_model("library/tiny", "1b", WEIGHTS, template="t")
    bring_in(library, ollama_source(registry))
    hub.repo("org/tiny").commit({"README.md": b"# tiny", "tiny-Q4_K_M.gguf": WEIGHTS})
    version, plan = bring_in(library, hub_source(hub, "org/tiny"), run="run-2")
    assert version.state == "ready"
    assert plan.to_fetch == len(b"# tiny")
    assert hub.asked("gguf") == 0
    assert version.facts.quantization == "Q4_K_M", "what the header says is known although it was not fetched"


def test_a_revision_that_differs_in_its_readme_moves_only_that(hub: Hub, library: Library) -> None:
    repo = hub.repo("org/tiny")
    repo.commit({"README.md": b"one", "model.safetensors": safetensors(300_000)})
    bring_in(library, hub_source(hub, "org/tiny"))
    before = hub.body_bytes
    repo.commit({"README.md": b"two!", "model.safetensors": safetensors(300_000)})
    bring_in(library, hub_source(hub, "org/tiny"), run="run-2")
    assert hub.body_bytes - before == 4


def test_one_content_has_one_image_under_two_names_and_that_is_told(registry: OllamaRegistry, library: Library) -> None:
    registry.add_model("library/tiny", "1b", WEIGHTS)
    registry.manifests["library/tiny", "latest"] = registry.manifests["library/tiny", "1b"]
    first, _ = bring_in(library, ollama_source(registry))
    second, _ = bring_in(library, ollama_source(registry, "library/tiny:latest"), run="run-2")
    assert first.image == second.image
    with library.catalog.reading() as connection:
        assert [twin.id for twin in versions.same_content(connection, P, second)] == [first.id]


def test_another_projects_private_blob_is_fetched_again_and_shares_its_place(registry: OllamaRegistry, library: Library) -> None:
    registry.add_model("library/tiny", "1b", WEIGHTS)
    bring_in(library, ollama_source(registry))
    before = registry.body_bytes
    other, plan = bring_in(library, ollama_source(registry), project=ProjectName("other"), run="run-2")
    assert plan.to_fetch == plan.total - len(registry.manifests["library/tiny", "1b"])
    assert registry.body_bytes - before == plan.to_fetch
    assert other.state == "ready"
    assert sum(blob.size for blob in library.store.stored()) < 2 * len(WEIGHTS)


def test_two_imports_of_one_version_at_once_download_once(registry: OllamaRegistry, library: Library) -> None:
    registry.add_model("library/tiny", "1b", WEIGHTS)
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda run: bring_in(library, ollama_source(registry), run=run)[0], ["run-1", "run-2"]))
    assert both[0].id == both[1].id
    assert registry.body_bytes == sum(blob.size for blob in registry.blobs.values())
    with library.catalog.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM version")).scalar() == 1


def test_two_versions_that_share_a_large_file_at_once_download_it_once(
    registry: OllamaRegistry, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "_LEASED_BYTES", 1000)
    registry.add_model("library/tiny", "1b", WEIGHTS, template="one")
    registry.add_model("library/tiny", "2b", WEIGHTS, template="two")
    names = ["library/tiny:1b", "library/tiny:2b"]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda name: bring_in(library, ollama_source(registry, name), run=name)[0], names))
    assert [one.state for one in both] == ["ready", "ready"]
    assert registry.body_bytes == sum(content.size for content in registry.blobs.values())


def test_an_import_whose_lease_was_taken_over_publishes_nothing(registry: OllamaRegistry, library: Library) -> None:
    registry.add_model("library/tiny", "1b", WEIGHTS)

    def taken_over() -> None:
        with library.catalog.writing() as connection:
            connection.execute(update(lease_table).values(holder="another"))

    with pytest.raises(LeaseLost):
        bring_in(library, ollama_source(registry), before_publish=taken_over)
    with library.catalog.reading() as connection:
        assert [one.state for one in versions.page(connection, P)] == ["importing"]
        assert connection.execute(text("SELECT count(*) FROM image")).scalar() == 0


def test_wrong_bytes_leave_a_version_that_says_failed_and_why_and_a_retry_completes_it(
    registry: OllamaRegistry, library: Library
) -> None:
    registry.add_model("library/tiny", "1b", WEIGHTS)
    registry.faults.flip_byte_at = 300_000
    with pytest.raises(DigestMismatch):
        bring_in(library, ollama_source(registry))
    assert Digest.of(WEIGHTS) not in {blob.digest for blob in library.store.stored()}
    with library.catalog.reading() as connection:
        (failed,) = versions.page(connection, P)
    assert failed.state == "failed"
    assert "expected sha256:" in (failed.reason or "")
    assert str(Digest.of(WEIGHTS)) in (failed.reason or "")
    registry.faults.flip_byte_at = None
    completed, _ = bring_in(library, ollama_source(registry), run="run-2")
    assert (completed.id, completed.state, completed.reason) == (failed.id, "ready", None)


def test_a_disk_that_is_too_small_refuses_before_the_first_byte_with_the_numbers(
    registry: OllamaRegistry, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add_model("library/tiny", "1b", WEIGHTS)
    monkeypatch.setattr(type(library.store), "free_bytes", lambda _self: DEFAULT.free_bytes_kept)
    with pytest.raises(DiskFull, match="536,870,912 bytes free"):
        bring_in(library, ollama_source(registry))
    assert registry.body_bytes == 0


def test_the_same_pin_with_other_files_is_another_ones_name(hub: Hub, library: Library) -> None:
    hub.repo("org/tiny").commit({"README.md": b"one", "model.safetensors": safetensors()})
    bring_in(library, hub_source(hub, "org/tiny"))
    with pytest.raises(NameTaken, match="--name"):
        bring_in(library, hub_source(hub, "org/tiny", exclude=["README.md"]), run="run-2")


def test_a_dry_run_changes_nothing_and_says_what_would_be_fetched(registry: OllamaRegistry, library: Library) -> None:
    registry.add_model("library/tiny", "1b", WEIGHTS)
    source = ollama_source(registry)
    pin = source.pin(StopToken())
    listing = source.list_files(pin, StopToken())
    plan = importing.plan_dry(library, P, source.model, pin, listing, source=source, category="chat")
    assert plan.to_fetch == sum(content.size for content in registry.blobs.values())
    assert registry.body_bytes < 1000, "only the small files"
    assert list(library.store.stored()) == [] == list(library.store.arriving())
    with library.catalog.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM version")).scalar() == 0


def refused(library: Library, source: Source, *, dry: bool) -> ModelshelfError | None:
    """What the import, or its dry run, ends with."""
    try:
        if dry:
            pin = source.pin(StopToken())
            listing = source.list_files(pin, StopToken())
            importing.plan_dry(library, P, source.model, pin, listing, source=source, category="chat", limits=SMALL)
        else:
            bring_in(library, source, run="run-2")
    except ModelshelfError as error:
        return error
    return None


@pytest.mark.parametrize("why", ["space", "name taken", "auto_map", "licence", "header", "nothing"])
def test_a_dry_run_refuses_what_the_import_refuses_in_the_same_words_and_stores_nothing(
    hub: Hub, library: Library, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    files = {"README.md": b"one", "config.json": b"{}", "model.safetensors": safetensors()}
    repo = hub.repo("org/tiny")
    source = hub_source(hub, "org/tiny")
    expected: type[ModelshelfError] | None = None
    if why == "space":
        expected = DiskFull
        monkeypatch.setattr(type(library.store), "free_bytes", lambda _store: DEFAULT.free_bytes_kept + 1000)
    elif why == "name taken":
        expected = NameTaken
        repo.commit(files)
        bring_in(library, source)
        source = hub_source(hub, "org/tiny", exclude=["README.md"])
    elif why == "auto_map":
        expected = NamesCode
        files["config.json"] = b'{"auto_map": {"AutoModel": "modeling.Model"}}'
    elif why == "licence":
        expected = LicenseRefused
        library = replace(library, settings=replace(library.settings, licenses=("mit",)))
        files["LICENSE"] = b"Apache License\nVersion 2.0, January 2004\nhttp://www.apache.org/licenses/"
    elif why == "header":
        expected = Refused
        files["config.json"] = b"no json"
    if why != "name taken":
        repo.commit(files)
    before = sorted(library.store.stored())
    dry = refused(library, source, dry=True)
    assert sorted(library.store.stored()) == before
    assert list(library.store.arriving()) == []
    real = refused(library, source, dry=False)
    assert str(real).startswith(str(dry)), "and then what state things are in"
    assert (dry is None) if expected is None else isinstance(dry, expected), dry


def test_a_stopped_import_writes_nothing_afterwards(registry: OllamaRegistry, library: Library) -> None:
    """The threads end before the lease is released."""
    from modelshelf.stop import Stopped

    registry.add_model("library/tiny", "1b", WEIGHTS)
    registry.faults.stall_after = 1000
    source = ollama_source(registry)
    stop = StopToken()
    pin = source.pin(stop)
    listing = source.list_files(pin, stop)
    with library.catalog.writing() as connection:
        version = versions.reserve(
            connection, P, source.model, pin.version, source=source.uri, resolved=pin.resolved, category="chat"
        )
    plan = importing.plan_and_hold(library, P, version, listing, "run")
    threading.Timer(0.2, stop.set).start()
    with pytest.raises(Stopped):
        importing.fetch_missing(
            library, P, version, source, listing, plan, meter=importing.Meter(plan.to_fetch), stop=stop, limits=SMALL
        )
    working = [thread.name for thread in threading.enumerate() if thread.name.startswith(("part", "file", "hasher", "renew"))]
    assert working == []


# --- replicas and deletion ---------------------------------------------------------------------------------------


@pytest.fixture
def ready(registry: OllamaRegistry, library: Library) -> versions.Version:
    registry.add_model("library/tiny", "1b", WEIGHTS, template="t")
    return bring_in(library, ollama_source(registry))[0]


def test_a_replica_is_links_to_the_store_and_no_second_byte(library: Library, ready: versions.Version) -> None:
    folder = caching.fill(library, P, ready, StopToken())
    weights = folder / "blobs" / f"sha256-{Digest.of(WEIGHTS).hex}"
    assert weights.stat().st_ino == library.store.path_of(Digest.of(WEIGHTS)).stat().st_ino
    assert (folder / "manifest.json").read_bytes()
    blocks = {}
    for path in [*library.settings.store.rglob("*"), *library.settings.node.rglob("*")]:
        if path.is_file():
            blocks[path.stat().st_ino] = path.stat().st_size
    assert sum(blocks.values()) < 1.01 * len(WEIGHTS) + 10_000


@pytest.mark.parametrize("damage", ["missing", "other content", "no marker"])
def test_a_damaged_replica_is_seen_and_laid_out_again(library: Library, ready: versions.Version, damage: str) -> None:
    folder = caching.fill(library, P, ready, StopToken())
    victim = folder / "blobs" / f"sha256-{Digest.of(WEIGHTS).hex}"
    match damage:
        case "missing":
            victim.unlink()
        case "other content":
            victim.unlink()
            victim.write_bytes(b"x" * len(WEIGHTS))
        case "no marker":
            (folder.parent / "complete.json").unlink()
    seen = observing.observe(library)
    assert [row["seen"] for row in seen] == ["absent"]
    caching.fill(library, P, ready, StopToken())
    assert victim.read_bytes() == WEIGHTS
    assert [row["seen"] for row in observing.observe(library)] == ["present"]


def test_a_node_on_another_file_system_gets_true_copies(
    library: Library, ready: versions.Version, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def other_file_system(*_a: object, **_k: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_file_system)
    folder = caching.fill(library, P, ready, StopToken())
    weights = folder / "blobs" / f"sha256-{Digest.of(WEIGHTS).hex}"
    assert weights.read_bytes() == WEIGHTS
    assert not os.access(weights, os.W_OK) or os.geteuid() == 0
    assert weights.stat().st_mode & 0o222 == 0


def test_deleting_frees_just_what_only_it_used(registry: OllamaRegistry, library: Library, ready: versions.Version) -> None:
    registry.add_model("library/tiny", "2b", WEIGHTS, template="another")
    other, _ = bring_in(library, ollama_source(registry, "library/tiny:2b"), run="run-2")
    caching.fill(library, P, ready, StopToken())
    plan = deleting.plan_deletion(library, P, ready.ref)
    before = sum(blob.size for blob in library.store.stored())
    done = deleting.delete_version(library, P, ready.ref, who="test")
    assert done == plan
    assert before - sum(blob.size for blob in library.store.stored()) == plan.frees
    assert plan.keeps >= len(WEIGHTS)
    folder = caching.fill(library, P, other, StopToken())
    assert (folder / "blobs" / f"sha256-{Digest.of(WEIGHTS).hex}").read_bytes() == WEIGHTS
    deleting.delete_version(library, P, other.ref, who="test")
    assert list(library.store.stored()) == []
    assert list((library.settings.node / "replicas").iterdir()) == []


def test_a_plan_to_delete_deletes_nothing(library: Library, ready: versions.Version) -> None:
    before = set(library.store.stored())
    deleting.plan_deletion(library, P, ready.ref)
    assert set(library.store.stored()) == before
    with library.catalog.reading() as connection:
        assert versions.find(connection, P, ready.ref) == ready


def test_what_a_running_import_counts_on_is_not_deleted(
    registry: OllamaRegistry, library: Library, ready: versions.Version
) -> None:
    registry.add_model("library/tiny", "2b", WEIGHTS, template="another")

    def delete_the_other() -> None:
        deleting.delete_version(library, P, ready.ref, who="test")

    second, plan = bring_in(library, ollama_source(registry, "library/tiny:2b"), run="run-2", before_publish=delete_the_other)
    assert not next(file for file in plan.files if file.size > 1000).fetch
    with library.store.open(Digest.of(WEIGHTS)) as file:
        assert file.read() == WEIGHTS
    assert second.state == "ready"


def test_of_deleting_and_beginning_to_serve_exactly_one_succeeds(library: Library, ready: versions.Version) -> None:
    def serve() -> None:
        with library.catalog.writing() as connection:
            target = versions.find(connection, P, ready.ref)
            record_instance(connection, library.node_id, target)

    def delete() -> None:
        deleting.delete_version(library, P, ready.ref, who="test")

    def attempt(action: object) -> bool:
        try:
            action()  # type: ignore[operator]
        except ModelshelfError:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(attempt, [serve, delete])) == [False, True]


def test_a_project_cannot_delete_or_cache_what_it_cannot_see(library: Library, ready: versions.Version) -> None:
    from modelshelf.errors import NoSuchModel

    other = ProjectName("other")
    ref = ModelRef.parse(f"default/{ready.ref}")
    with pytest.raises(NoSuchModel):
        deleting.delete_version(library, other, ref, who="test")
    with pytest.raises(NoSuchModel):
        caching.plan_cache(library, other, ref)


def test_a_version_with_an_instance_is_not_deleted(library: Library, ready: versions.Version) -> None:
    with library.catalog.writing() as connection:
        record_instance(connection, library.node_id, ready)
    with pytest.raises(StillInUse, match="instance chat-1 of project default"):
        deleting.plan_deletion(library, P, ready.ref)


def test_everything_below_home_that_holds_facts_is_for_its_owner_alone(library: Library) -> None:
    assert Path(library.settings.home).stat().st_mode & 0o077 == 0
