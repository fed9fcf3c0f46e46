"""Cleaning, auditing, the disk report, warm-up and eviction: what is planned is done, and nothing in use goes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from modelshelf.catalog import instances, replicas, versions
from modelshelf.catalog.stale import Policy
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import NodeFull, NoReplica, NoSuchModel, StillInUse, Unreadable
from modelshelf.library import auditing, caching, cleaning, deleting, disk, metrics, naming, running
from modelshelf.library.findings import Finding
from modelshelf.library.findings import left as left_of
from modelshelf.library.opening import Library
from modelshelf.names import InstanceName, ServedName, Tag
from modelshelf.nodes import processes
from modelshelf.stop import StopToken
from modelshelf.transfer.contract import Span
from tests.library.test_launch import with_engine
from tests.making import P, bring_in, gguf, launch_all, ollama_source, record_instance
from tests.nodes.local import handled, node_of
from tests.stand_ins.ollama_registry import OllamaRegistry

ALL = Policy(keep=1, days=0)


@pytest.fixture
def four(registry: OllamaRegistry, library: Library, tmp_path: Path) -> Iterator[tuple[Library, list[Version]]]:
    """Four versions of one model, oldest first; all share their template, the last has the upstream tag."""
    equipped = with_engine(library, tmp_path)
    made = []
    for seed in range(4):
        registry.add_model("library/tiny", "1b", gguf(seed=seed), template="shared by all")
        made.append(bring_in(equipped, ollama_source(registry))[0])
    yield equipped, made
    with equipped.catalog.reading() as connection:
        for one in instances.page(connection, P):
            running.stop_engine(equipped, one)


def audit(library: Library, *, rehash: bool = False, repair: bool = False) -> list[Finding]:
    return auditing.audit(library, StopToken(), rehash="all" if rehash else "none", repair=repair, who="test", grace_seconds=0)


def left(library: Library) -> set[str]:
    with library.catalog.reading() as connection:
        return {str(one.name) for one in versions.page(connection, P)}


def check_bytes(library: Library) -> None:
    """Every ready version has all its blobs, true to the byte."""
    with library.catalog.reading() as connection:
        for version in versions.page(connection, P):
            for file in versions.files(connection, P, version.id) if version.state == "ready" else ():
                with library.store.open(file.digest) as content:
                    assert Digest.of_file(content) == file.digest


def test_the_run_removes_what_the_plan_names_and_frees_what_it_says(four: tuple[Library, list[Version]]) -> None:
    library, made = four
    before = sum(blob.size for blob in library.store.stored())
    plan = cleaning.plan_clean(library, P, ALL)
    assert [one.version_id for one in plan.versions] == [one.id for one in made[:3]]
    assert left(library) == {str(one.name) for one in made}, "a plan changes nothing"
    report = cleaning.clean(library, P, plan, StopToken(), who="test")
    assert report.removed == tuple(str(one.ref) for one in plan.versions)
    assert left(library) == {str(made[3].name)}
    assert report.freed == plan.frees == before - sum(blob.size for blob in library.store.stored())
    check_bytes(library)
    assert audit(library, rehash=True) == []


def test_what_is_referred_to_is_never_planned(four: tuple[Library, list[Version]]) -> None:
    library, made = four
    naming.promote(library, P, made[0].ref, Tag("stable"), who="test")
    with library.catalog.writing() as connection:
        record_instance(connection, library.node_id, made[1])
    caching.fill(library, P, made[2], StopToken())
    naming.pin(library, P, made[2].ref, who="test", pinned=True)
    assert cleaning.plan_clean(library, P, Policy(keep=0, days=0)).versions == (), "the last one has its upstream tag"
    assert cleaning.plan_clean(library, P, Policy(keep=4, days=0)).versions == ()
    assert cleaning.plan_clean(library, P, Policy(keep=0, days=1)).versions == ()


def test_what_comes_into_use_after_the_plan_stays_and_is_told(four: tuple[Library, list[Version]]) -> None:
    library, made = four
    plan = cleaning.plan_clean(library, P, ALL)
    with library.catalog.writing() as connection:
        record_instance(connection, library.node_id, made[1])
    deleting.delete_version(library, P, made[2].ref, who="someone else")
    report = cleaning.clean(library, P, plan, StopToken(), who="test")
    assert report.removed == (str(made[0].ref),)
    assert [ref for ref, _ in report.left] == [str(made[1].ref), str(made[2].ref)]
    assert "instance chat-1" in report.left[0][1]
    assert left(library) == {str(made[1].name), str(made[3].name)}


@pytest.mark.parametrize("damage", ["missing", "cut off", "another kind"])
def test_a_manifest_that_cannot_be_read_stops_the_deletions_and_is_named(
    four: tuple[Library, list[Version]], damage: str
) -> None:
    library, made = four
    plan = cleaning.plan_clean(library, P, ALL)
    assert made[3].image is not None
    manifest = library.store.path_of(made[3].image)
    content = manifest.read_bytes()
    manifest.unlink()
    if damage != "missing":
        manifest.write_bytes(content[:-10] if damage == "cut off" else b'{"manifests": []}')
    with pytest.raises(Unreadable, match="audit --repair"):
        cleaning.clean(library, P, plan, StopToken(), who="test")
    assert left(library) == {str(one.name) for one in made}


def test_an_import_that_failed_long_ago_goes_and_one_that_runs_does_not(registry: OllamaRegistry, library: Library) -> None:
    from modelshelf.catalog.leases import Lease

    registry.add_model("library/tiny", "1b", gguf(), template="t")
    source = ollama_source(registry)
    pin = source.pin(StopToken())
    with library.catalog.writing() as connection:
        version = versions.reserve(
            connection, P, source.model, pin.version, source=source.uri, resolved=pin.resolved, category="chat"
        )
        versions.set_state(connection, version.id, "importing")
        lease = Lease(version.lease, says="run 1")
        lease.acquire(connection)
    assert cleaning.plan_clean(library, P, ALL).versions == ()
    with library.catalog.writing() as connection:
        lease.release(connection)
    (planned,) = cleaning.plan_clean(library, P, ALL).versions
    assert "importing" in planned.why


@pytest.mark.parametrize("point", ["delete.row_gone", "delete.manifest_gone", "delete.blob_gone"])
def test_a_cleaning_that_dies_anywhere_is_finished_by_the_next(
    four: tuple[Library, list[Version]], monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    from modelshelf import crash_points

    library, made = four
    for version in made[:3]:
        caching.fill(library, P, version, StopToken())

    def die(reached: str) -> None:
        if reached == point:
            raise KeyboardInterrupt

    monkeypatch.setattr(crash_points, "on_reach", die)
    with pytest.raises(KeyboardInterrupt):
        cleaning.clean(library, P, cleaning.plan_clean(library, P, ALL), StopToken(), who="test")
    check_bytes(library)
    monkeypatch.setattr(crash_points, "on_reach", None)
    cleaning.clean(library, P, cleaning.plan_clean(library, P, ALL), StopToken(), who="test")
    assert left(library) == {str(made[3].name)}
    audit(library, repair=True)
    assert audit(library, rehash=True) == []
    with library.catalog.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM blob WHERE state = 'deleting'")).scalar() == 0


def test_the_audit_finds_each_planted_fault_and_repairs_it(four: tuple[Library, list[Version]]) -> None:
    library, made = four
    for version in made[:3]:
        caching.fill(library, P, version, StopToken())
    name = InstanceName("chat-1")
    launched = launch_all(library, name, ((made[2], ServedName("tiny")),))
    assert audit(library, rehash=True) == []

    with library.catalog.reading() as connection:
        weights = [next(file for file in versions.files(connection, P, one.id) if file.role == "weight").digest for one in made]
    missing = library.store.path_of(weights[0])
    missing.unlink()
    flipped = library.store.path_of(weights[1])
    content = bytearray(flipped.read_bytes())
    content[5000] ^= 1
    flipped.chmod(0o644)
    flipped.write_bytes(content)
    library.store.put(b"nobody knows this")
    assert made[3].image is not None
    library.node.replicas.fill(made[3].image, (), StopToken())
    processes.stop(handled(launched.handle), 0)
    stray = node_of(library).own_folder("f" * 32)
    stray.mkdir()
    process = processes.spawn("f" * 32, processes.Command(("/bin/sleep", "600")), stray / "engine.log")

    try:
        found = audit(library, rehash=True)
        kinds = sorted(one.kind for one in found)
        assert kinds == sorted(
            ["blob missing", "blob damaged", "blob extra", "replica gone", "replica extra", "instance gone",
             "engine without a row", "instance folder extra"]
        )  # fmt: skip
        assert audit(library, rehash=True) == found, "looking changes nothing"
        audit(library, rehash=True, repair=True)
        assert not processes.alive(process)
    finally:
        processes.stop(process, 0)
    audit(library, rehash=True, repair=True)
    assert audit(library, rehash=True) == []
    with library.catalog.reading() as connection:
        states = {one.id: one.state for one in versions.page(connection, P)}
    assert [states[one.id] for one in made] == ["failed", "failed", "ready", "ready"]
    check_bytes(library)


def test_while_an_import_runs_nothing_unknown_is_taken_for_an_orphan(library: Library) -> None:
    from modelshelf.catalog.leases import Lease

    library.store.put(b"fetched, and recorded at the end")
    lease = Lease("import 7", says="run 7")
    with library.catalog.writing() as connection:
        lease.acquire(connection)
    assert audit(library, repair=True) == []
    with library.catalog.writing() as connection:
        lease.release(connection)
    assert [one.kind for one in audit(library)] == ["blob extra"]


def test_what_the_audit_took_away_is_imported_again(registry: OllamaRegistry, library: Library) -> None:
    registry.add_model("library/tiny", "1b", gguf(), template="t")
    version, _ = bring_in(library, ollama_source(registry))
    with library.catalog.reading() as connection:
        weights = next(file for file in versions.files(connection, P, version.id) if file.role == "weight")
    library.store.path_of(weights.digest).unlink()
    audit(library, repair=True)
    again, plan = bring_in(library, ollama_source(registry))
    assert (again.id, again.image, again.state) == (version.id, version.image, "ready")
    assert plan.to_fetch >= weights.size
    assert audit(library, rehash=True) == []


def test_the_parts_of_the_disk_report_add_up_to_the_disk(four: tuple[Library, list[Version]]) -> None:
    library, made = four
    caching.fill(library, P, made[0], StopToken())
    library.store.put(b"an orphan" * 1000)
    with library.store.begin(Digest.of(b"half of it"), 1 << 20) as arriving:
        arriving.write_at(0, b"\0" * (1 << 19))
        arriving.finish(Span(0, 1 << 19))
    report = disk.report(library, P)
    du = subprocess.run(["du", "-s", "-B1", library.settings.home], capture_output=True, text=True, check=True).stdout
    assert report.total == int(du.split()[0])
    parts = (
        report.images,
        report.replicas,
        report.instances,
        report.partial,
        report.reserved,
        report.orphans,
        report.catalog,
        report.other,
    )
    assert sum(parts) == report.total
    assert report.orphans >= 9000
    assert (report.partial, report.reserved >= 1 << 19) == (1 << 19, True), "what arrived, and what is set aside for the rest"
    assert report.replicas < 100_000, "links cost nothing but their folders"
    share = next(one for one in report.versions if one.ref == str(made[0].ref))
    before = sum(blob.size for blob in library.store.stored())
    deleting.delete_version(library, P, made[0].ref, who="test")
    assert share.frees == before - sum(blob.size for blob in library.store.stored())
    assert share.shared > 0, "the template is shared"


def test_marked_versions_are_brought_to_the_node_and_again_when_they_were_lost(four: tuple[Library, list[Version]]) -> None:
    library, made = four
    naming.mark(library, P, made[1].ref, who="test", auto_cache=True)
    assert [(one.ref, one.outcome) for one in caching.warm_up(library, StopToken())] == [(str(made[1].ref), "cached")]
    assert [one.outcome for one in caching.warm_up(library, StopToken())] == ["was there"]
    assert made[1].image is not None
    library.node.replicas.evict(made[1].image)
    (late,) = caching.warm_up(library, StopToken(), seconds=0)
    assert (late.outcome, late.there) == ("not reached within the time limit", False)
    assert [one.outcome for one in caching.warm_up(library, StopToken())] == ["cached"]
    naming.mark(library, P, made[1].ref, who="test", disabled=True)
    assert caching.warm_up(library, StopToken()) == []


def test_under_a_budget_the_least_recently_used_make_room_and_never_what_is_pinned_or_in_use(
    four: tuple[Library, list[Version]],
) -> None:
    library, made = four
    size = made[0].size or 0
    with library.catalog.writing() as connection:
        replicas.set_budget(connection, library.node_id, 2 * size + 1000)
    for version in made[:2]:
        caching.fill(library, P, version, StopToken())
    plan = caching.plan_cache(library, P, made[2].ref)
    assert plan.evicts == (str(made[0].ref),)
    caching.fill(library, P, made[2], StopToken())
    assert [library.node.replicas.holds(one.image, _files(library, one)) for one in made if one.image] == [
        False,
        True,
        True,
        False,
    ]
    naming.pin(library, P, made[1].ref, who="test", pinned=True)
    launch_all(library, InstanceName("chat-1"), ((made[2], ServedName("tiny")),))
    with pytest.raises(NodeFull, match=f"{2 * size + 1000:,} bytes.*pinned.*instance chat-1"):
        caching.fill(library, P, made[3], StopToken())
    naming.mark(library, P, made[3].ref, who="test", auto_cache=True)
    (skipped,) = caching.warm_up(library, StopToken())
    assert skipped.outcome.startswith("skipped")
    for ref in (made[1].ref, made[2].ref):
        with pytest.raises(StillInUse):
            caching.evict(library, P, ref, who="test")
    running.stop_instance(library, P, InstanceName("chat-1"), "test")
    assert caching.evict(library, P, made[2].ref, who="test") == size
    with pytest.raises(NoReplica):
        caching.evict(library, P, made[2].ref, who="test")
    with pytest.raises(NoSuchModel):
        caching.evict(library, P, type(made[0].ref).parse("nosuch:1"), who="test")


def test_the_metrics_are_what_prometheus_reads(four: tuple[Library, list[Version]]) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    library, made = four
    launch_all(library, InstanceName("chat-1"), ((made[2], ServedName("tiny")),))
    text_ = metrics.write_metrics(library).read_text()
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text_)
        for sample in family.samples
    }
    assert found["modelshelf_versions", "ready"] == 4
    assert found["modelshelf_instance_ready", "chat-1", "default", "llamacpp"] == 1
    assert found["modelshelf_replica_bytes", "local"] == made[2].size
    assert found["modelshelf_blob_bytes",] == sum(blob.size for blob in library.store.stored())
    running.stop_instance(library, P, InstanceName("chat-1"), "test")
    assert (
        'modelshelf_instance_ready{engine="llamacpp",instance="chat-1",project="default"} 0.0'
        in metrics.write_metrics(library).read_text()
    )


def test_a_nights_part_is_what_was_read_longest_ago_and_all_of_it_is_read_within_a_month(
    four: tuple[Library, list[Version]],
) -> None:
    library, _ = four
    with library.catalog.writing() as connection:
        connection.execute(text("UPDATE blob SET proven_at = 1"))
    damaged = max(library.store.stored(), key=lambda one: one.size)
    path = library.store.path_of(damaged.digest)
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(damaged.size // 2)
        file.write(os.urandom(8))
    total, read, found = sum(one.size for one in library.store.stored()), [0], []
    for _night in range(30):
        before = sum(read)
        found += auditing.audit(library, StopToken(), rehash="part", repair=False, who="test", on_bytes=read.append)
        largest = max(one.size for one in library.store.stored())
        assert sum(read) - before <= total // 25 + largest + damaged.size, "no more than its share, and the blob that fills it"
    with library.catalog.reading() as connection:
        unread = connection.execute(text("SELECT digest FROM blob WHERE proven_at = 1")).scalars().all()
    assert unread == [str(damaged.digest)], "what is damaged is read every night until it is mended"
    assert {(one.kind, one.what) for one in found} == {("blob damaged", str(damaged.digest))}
    assert "used by tiny:1b-" in found[0].found, "named with the versions that use it"


def test_a_repair_says_of_each_difference_what_came_of_it_and_counts_what_is_left(four: tuple[Library, list[Version]]) -> None:
    library, made = four
    (library.store.root / "blobs" / "sha256" / "notes.txt").write_text("nobody's")
    assert made[0].image is not None
    library.store.path_of(made[0].image).unlink()
    found = audit(library, repair=True)
    assert {(one.kind, one.outcome) for one in found} == {
        ("file extra", "left: modelshelf did not write this file; remove it yourself"), ("blob missing", "repaired")
    }  # fmt: skip
    assert left_of(found) == 1
    assert [one.kind for one in audit(library, repair=True)] == ["file extra"]


def test_a_served_version_that_lost_a_small_blob_is_failed_coherently_and_brought_back_by_those_bytes_alone(
    registry: OllamaRegistry, four: tuple[Library, list[Version]]
) -> None:
    library, made = four
    version = made[3]
    launch_all(library, InstanceName("chat-1"), ((version, ServedName("tiny")),))
    small = Digest.of(b"shared by all")
    library.store.path_of(small).unlink()
    (missing,) = [one for one in audit(library, repair=True) if one.kind == "blob missing"]
    assert missing.outcome == "repaired"
    for _ in range(2):
        (served,) = audit(library, repair=True)
        assert (served.kind, served.what) == ("served version failed", "default/chat-1")
        assert f"`modelshelf import {version.source}`" in served.outcome
        assert library.node.replicas.files_of(version.image or small).exists(), "what is served stays"
    assert [one.name for one in _running(library)] == [InstanceName("chat-1")]
    before = registry.body_bytes
    again, plan = bring_in(library, ollama_source(registry), run="run-2")
    assert (again.id, again.image, again.state) == (version.id, version.image, "ready")
    assert registry.body_bytes - before == plan.to_fetch == len(b"shared by all")


def _running(library: Library) -> list[instances.Instance]:
    with library.catalog.reading() as connection:
        return [one for one in instances.page(connection, P) if running.is_running(library, one)]


def _files(library: Library, version: Version) -> tuple[versions.PackedFile, ...]:
    with library.catalog.reading() as connection:
        return versions.files(connection, P, version.id)
