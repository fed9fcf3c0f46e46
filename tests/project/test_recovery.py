"""What should be there and is not comes back by itself: an instance whose engine ended, a replica that was lost. Promise 3.

The flows are called without a server; what `reconcile` would start as runs is read from what it claims.
"""

from __future__ import annotations

import os
import shutil
import signal
from dataclasses import replace

import pytest
from sqlalchemy import text

from flows.evict_replica import evict_replica
from flows.reconcile import reconcile
from flows.recover_instance import recover_instance
from flows.refill_replica import refill_replica
from flows.restart_instance import restart_instance
from flows.stop_instance import stop_instance
from modelshelf.catalog import replicas
from modelshelf.catalog.versions import Version
from modelshelf.errors import EngineTooSlow, ModelshelfError
from modelshelf.library import caching, recovery
from modelshelf.library.opening import Library
from modelshelf.stop import StopToken
from tests.making import P, bring_in, gguf, ollama_source
from tests.nodes.local import handled
from tests.project.test_instances import CHAT, found, launch, run
from tests.stand_ins.ollama_registry import OllamaRegistry


@pytest.fixture
def tiny(equipped: Library, registry: OllamaRegistry) -> Version:
    registry.add_model("library/tiny", "1b", gguf(), template="t")
    return bring_in(equipped, ollama_source(registry))[0]


def kill_engine(library: Library) -> None:
    made = found(library)
    os.kill(handled(made.handle).pid, signal.SIGKILL)
    while library.node.find(made.label) is not None:
        pass


def time_passes(library: Library, seconds: float) -> None:
    """Everything that is recorded as a time of these tables is that much longer ago."""
    with library.catalog.writing() as connection:
        for table in ("instance", "replica"):
            connection.execute(text(f"UPDATE {table} SET next_try = next_try - {seconds}"))
        connection.execute(text(f"UPDATE instance SET ready_at = ready_at - {seconds}"))


def test_an_engine_that_was_killed_comes_back_with_the_same_versions_port_and_arguments(equipped: Library, tiny: Version) -> None:
    before = launch(equipped, tiny, arguments=["--threads", "1"])
    kill_engine(equipped)
    run(equipped, reconcile.fn())
    assert (found(equipped).state, found(equipped).attempts) == ("failed", 1)
    assert run(equipped, recover_instance.fn(instance=str(CHAT))) is True
    after = found(equipped)
    assert (after.state, after.port, after.command, after.serves) == ("ready", before.port, before.command, before.serves)
    assert after.handle != before.handle


def test_what_was_stopped_stays_stopped(equipped: Library, tiny: Version) -> None:
    launch(equipped, tiny)
    run(equipped, stop_instance.fn(instance=str(CHAT)))
    run(equipped, reconcile.fn())
    assert recovery.claim_lost(equipped).instances == ()
    assert run(equipped, recover_instance.fn(instance=str(CHAT))) is False
    assert found(equipped).state == "stopped"


def test_an_instance_that_runs_or_is_gone_is_left_alone(equipped: Library, tiny: Version) -> None:
    before = launch(equipped, tiny)
    assert run(equipped, recover_instance.fn(instance=str(CHAT))) is False
    assert found(equipped).handle == before.handle
    run(equipped, stop_instance.fn(instance=str(CHAT), delete=True))
    assert run(equipped, recover_instance.fn(instance=str(CHAT))) is False


def test_a_launch_that_never_was_ready_is_not_started_again(equipped: Library, tiny: Version) -> None:
    broken = replace(equipped, limits=replace(equipped.limits, engine_start_seconds=0))
    with pytest.raises(EngineTooSlow):
        launch(broken, tiny)
    assert found(equipped).state == "failed"
    assert recovery.claim_lost(equipped).instances == ()


def test_a_restart_that_failed_is_tried_again(equipped: Library, tiny: Version) -> None:
    launch(equipped, tiny)
    broken = replace(equipped, limits=replace(equipped.limits, engine_start_seconds=0))
    with pytest.raises(EngineTooSlow):
        run(broken, restart_instance.fn(instance=str(CHAT)))
    assert [name for _, name in recovery.claim_lost(equipped).instances] == [CHAT]
    assert run(equipped, recover_instance.fn(instance=str(CHAT))) is True
    assert found(equipped).state == "ready"


def test_each_wait_is_twice_the_one_before_and_the_last_try_is_the_last(equipped: Library, tiny: Version) -> None:
    launch(equipped, tiny)
    kill_engine(equipped)
    limits, waits = equipped.limits, []
    run(equipped, reconcile.fn())  # the first try is claimed here
    for _ in range(limits.recovery_attempts - 1):
        assert recovery.claim_lost(equipped).instances == (), "it is not due yet"
        with equipped.catalog.reading() as connection:
            clock = connection.execute(text("SELECT (julianday('now') - 2440587.5) * 86400.0")).scalar_one()
        due = found(equipped).next_try
        assert due is not None
        waits.append(round(due - clock, -1))
        time_passes(equipped, due - clock + 1)
        assert [name for _, name in recovery.claim_lost(equipped).instances] == [CHAT]
    assert waits == [60, 120, 240, 480, 960, 1920, 3600]
    time_passes(equipped, 7200)
    assert recovery.claim_lost(equipped).instances == ()
    assert "8 times in vain" in str(recovery.next_try(equipped, found(equipped), "failed"))


def test_tries_are_forgotten_once_the_engine_ran_steadily_and_not_before(equipped: Library, tiny: Version) -> None:
    launch(equipped, tiny)
    kill_engine(equipped)
    run(equipped, reconcile.fn())
    run(equipped, recover_instance.fn(instance=str(CHAT)))
    run(equipped, reconcile.fn())
    assert found(equipped).attempts == 1, "an engine that ends again and again is not started for ever"
    time_passes(equipped, equipped.limits.recovered_seconds + 1)
    run(equipped, reconcile.fn())
    assert (found(equipped).attempts, found(equipped).next_try) == (0, None)


def test_a_replica_whose_folder_vanished_is_filled_again(equipped: Library, tiny: Version) -> None:
    folder = caching.fill(equipped, P, tiny, StopToken())
    shutil.rmtree(folder.parent)
    run(equipped, reconcile.fn())
    assert observed(equipped, tiny) == "absent"
    assert run(equipped, refill_replica.fn(model=str(tiny.ref))) is True
    assert observed(equipped, tiny) == "present"
    assert folder.is_dir()
    assert recovery.claim_lost(equipped).replicas == ()


def test_a_replica_that_was_evicted_is_not_filled_again(equipped: Library, tiny: Version) -> None:
    caching.fill(equipped, P, tiny, StopToken())
    run(equipped, evict_replica.fn(model=str(tiny.ref)))
    run(equipped, reconcile.fn())
    assert recovery.claim_lost(equipped).replicas == ()
    assert run(equipped, refill_replica.fn(model=str(tiny.ref))) is False


def test_a_refill_that_fails_waits_longer_each_time(equipped: Library, tiny: Version) -> None:
    folder = caching.fill(equipped, P, tiny, StopToken())
    shutil.rmtree(folder.parent)
    with equipped.catalog.writing() as connection:
        connection.execute(text("UPDATE node SET budget = 1"))
    run(equipped, reconcile.fn())
    with pytest.raises(ModelshelfError, match="budget of 1 bytes"):
        run(equipped, refill_replica.fn(model=str(tiny.ref)))
    assert recovery.claim_lost(equipped).replicas == ()
    time_passes(equipped, 61)
    assert [str(ref) for _, ref in recovery.claim_lost(equipped).replicas] == [str(tiny.ref)]
    time_passes(equipped, 61)
    assert recovery.claim_lost(equipped).replicas == (), "the second wait is two minutes"


def observed(library: Library, version: Version) -> str:
    with library.catalog.reading() as connection:
        return next(one.observed for one in replicas.of_version(connection, version.id))
