"""A run that was paused past its lease wakes and destroys nothing that another run made or that an engine serves. Promise 4."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from modelshelf.catalog import replicas, versions
from modelshelf.catalog.versions import Version
from modelshelf.library import auditing, caching
from modelshelf.library.opening import Library
from modelshelf.stop import StopToken
from tests.interrupted import Children
from tests.making import P, bring_in, gguf, ollama_source, record_instance
from tests.stand_ins.ollama_registry import OllamaRegistry


@pytest.fixture
def two(library: Library, registry: OllamaRegistry) -> tuple[Version, Version]:
    made = []
    for number in (1, 2):
        registry.add_model(f"library/m{number}", "1b", gguf(seed=number), template="t")
        made.append(bring_in(library, ollama_source(registry, f"library/m{number}:1b"))[0])
    return made[0], made[1]


class Paused:
    """A process that sleeps at a point of a change; when it sleeps, half a minute has passed and its lease has lapsed."""

    def __init__(self, library: Library, children: Children) -> None:
        self._library, self._children = library, children

    def __call__(self, verb: str, version: Version, point: str) -> None:
        ended = self._children.run(f"tests.library.verbs:{verb}", str(version.ref), at=point, signal="STOP")
        assert ended == "stopped", self._children.error
        lapse(self._library)

    def wake(self) -> str:
        """Let it go on to its end; its traceback, empty if it did what it was to do."""
        self._children.wake()
        return self._children.error


def lapse(library: Library) -> None:
    with library.catalog.writing() as connection:
        connection.execute(text("UPDATE lease SET expires = 0"))


@pytest.fixture
def children(library: Library) -> Iterator[Children]:
    with Children(library.settings.home) as running:
        yield running


@pytest.fixture
def pause(library: Library, children: Children) -> Paused:
    return Paused(library, children)


def serve(library: Library, version: Version) -> None:
    """Another run caches the version, and an instance serves it."""
    caching.fill(library, P, version, StopToken())
    with library.catalog.writing() as connection:
        record_instance(connection, library.node_id, version)


def check_served(library: Library, version: Version, others: int = 1) -> None:
    """The version's replica is whole and recorded; the audit has nothing to report but as many instances without an engine."""
    with library.catalog.reading() as connection:
        files = versions.files(connection, P, version.id)
        (replica,) = replicas.of_version(connection, version.id)
    assert version.image is not None
    assert library.node.replicas.holds(version.image, files)
    assert replica.observed == "present"
    assert auditing.audit(library, StopToken(), rehash="all", repair=False, who="test", grace_seconds=0)[others:] == []


def test_an_eviction_that_was_paused_leaves_what_an_engine_serves_now(
    library: Library, two: tuple[Version, Version], pause: Paused
) -> None:
    caching.fill(library, P, two[0], StopToken())
    pause("evict", two[0], "evict.decided")
    serve(library, two[0])
    assert pause.wake() == ""
    check_served(library, two[0])


def test_a_deletion_that_was_paused_leaves_the_files_of_a_version_with_the_same_image(
    library: Library, two: tuple[Version, Version], pause: Paused, registry: OllamaRegistry
) -> None:
    same, _ = bring_in(library, ollama_source(registry, "library/m1:1b"), name="same")
    assert same.image == two[0].image
    caching.fill(library, P, two[0], StopToken())
    pause("delete", two[0], "evict.decided")
    serve(library, same)
    assert pause.wake() == ""
    check_served(library, same)


def test_room_that_a_paused_run_was_to_make_is_not_made_from_what_an_engine_serves_now(
    library: Library, two: tuple[Version, Version], pause: Paused
) -> None:
    caching.fill(library, P, two[0], StopToken())
    with library.catalog.writing() as connection:
        replicas.set_budget(connection, library.node_id, (two[0].size or 0) + 10)
    pause("cache", two[1], "evict.decided")
    with library.catalog.writing() as connection:
        replicas.set_budget(connection, library.node_id, None)
    serve(library, two[0])
    assert "LeaseLost" in pause.wake()
    check_served(library, two[0])


@pytest.mark.parametrize("point", ["replica.locked", "replica.begun", "replica.linked", "replica.marked", "replica.renamed"])
def test_a_fill_that_was_paused_publishes_nothing_and_takes_nobodys_replica(
    library: Library, two: tuple[Version, Version], pause: Paused, point: str
) -> None:
    pause("cache", two[0], point)
    other = threading.Thread(target=serve, args=(library, two[0]))  # waits for the lock, not for the lapsed lease
    other.start()
    other.join(0.5)
    assert other.is_alive()
    assert "LeaseLost" in pause.wake()
    other.join(30)
    assert not other.is_alive()
    check_served(library, two[0])


def test_a_damaged_replica_is_replaced_by_the_run_that_holds_the_lease_alone(
    library: Library, two: tuple[Version, Version], pause: Paused
) -> None:
    folder = caching.fill(library, P, two[0], StopToken())
    weights = max((file for file in folder.rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)
    weights.unlink()
    pause("cache", two[0], "replica.locked")
    other = threading.Thread(target=serve, args=(library, two[0]))
    other.start()
    assert "LeaseLost" in pause.wake()
    other.join(30)
    inode = weights.stat().st_ino
    check_served(library, two[0])
    assert weights.stat().st_ino == inode


def test_a_removal_that_is_under_way_is_finished_before_another_run_fills(
    library: Library, two: tuple[Version, Version], pause: Paused
) -> None:
    caching.fill(library, P, two[0], StopToken())
    pause("evict", two[0], "delete.replica_leaving")
    other = threading.Thread(target=serve, args=(library, two[0]))
    other.start()
    other.join(0.5)
    assert other.is_alive()
    assert pause.wake() == ""
    other.join(30)
    check_served(library, two[0])


@pytest.mark.parametrize("verb", ["cache", "evict"])
def test_killed_before_any_operation_the_next_run_completes_and_clears_what_was_left(
    library: Library, two: tuple[Version, Version], children: Children, verb: str
) -> None:
    operation, status = 0, -signal.SIGKILL
    while status == -signal.SIGKILL:
        operation += 1
        if verb == "evict":
            caching.fill(library, P, two[0], StopToken())
        status = children.run(f"tests.library.verbs:{verb}", str(two[0].ref), operation=operation)  # type: ignore[assignment]
        lapse(library)
        caching.fill(library, P, two[0], StopToken())
        check_served(library, two[0], others=0)
        assert list((library.settings.node / "replicas").glob(".*")) == []
        if verb == "cache":
            caching.evict(library, P, two[0].ref, who="test")
    assert status == 0, children.error
    assert operation > 10
