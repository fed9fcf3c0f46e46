"""Leases on the database's clock."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest
from sqlalchemy import update

from modelshelf.catalog.database import Catalog, now
from modelshelf.catalog.leases import Lease, Renewal, holding
from modelshelf.catalog.tables import lease as table
from modelshelf.errors import LeaseLost
from modelshelf.limits import DEFAULT


def acquire(catalog: Catalog, lease: Lease) -> bool:
    with catalog.writing() as connection:
        return lease.acquire(connection)


def lapse(catalog: Catalog, name: str) -> None:
    """Time passes: the lease's term is over by the database's clock."""
    with catalog.writing() as connection:
        connection.execute(update(table).where(table.c.name == name).values(expires=now(connection) - 1))


def test_one_holder_at_a_time(catalog: Catalog) -> None:
    first, second = Lease("x", "run 1"), Lease("x", "run 2")
    assert acquire(catalog, first)
    assert not acquire(catalog, second)
    with catalog.reading() as connection:
        held = holding(connection, "x")
    assert held is not None
    assert held.says == "run 1"
    assert 25 < held.seconds_left <= DEFAULT.lease_seconds
    with catalog.writing() as connection:
        first.release(connection)
    assert acquire(catalog, second)


def test_of_many_at_once_one_wins(catalog: Catalog) -> None:
    won: list[bool] = []
    start = threading.Barrier(8)

    def compete() -> None:
        start.wait()
        won.append(acquire(catalog, Lease("x", "one of many")))

    threads = [threading.Thread(target=compete) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]


def test_a_lapsed_lease_is_taken_over_and_its_first_holder_cannot_publish(catalog: Catalog) -> None:
    paused, next_one = Lease("x", "paused"), Lease("x", "next")
    assert acquire(catalog, paused)
    lapse(catalog, "x")
    assert acquire(catalog, next_one)
    with pytest.raises(LeaseLost), catalog.writing() as connection:
        paused.renew(connection)
    with catalog.writing() as connection:
        next_one.renew(connection)
        paused.release(connection)  # not its own any more: nothing happens
    assert not acquire(catalog, Lease("x", "third"))


def test_a_lapsed_lease_is_refused_even_if_nobody_took_it(catalog: Catalog) -> None:
    lease = Lease("x", "slow")
    assert acquire(catalog, lease)
    lapse(catalog, "x")
    with pytest.raises(LeaseLost), catalog.writing() as connection:
        lease.renew(connection)


def test_a_holder_that_was_restarted_does_not_inherit_its_lease(catalog: Catalog) -> None:
    assert acquire(catalog, Lease("x", "worker-1"))
    assert not acquire(catalog, Lease("x", "worker-1"))


@pytest.mark.parametrize("wrong_by", [3600.0, -3600.0])
def test_a_worker_whose_clock_is_wrong_neither_steals_nor_outlives_a_lease(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, wrong_by: float
) -> None:
    lease = Lease("x", "run 1")
    assert acquire(catalog, lease)
    right = time.time
    monkeypatch.setattr(time, "time", lambda: right() + wrong_by)
    assert not acquire(catalog, Lease("x", "run 2"))
    lapse(catalog, "x")
    with pytest.raises(LeaseLost), catalog.writing() as connection:
        lease.renew(connection)


def test_a_lease_is_renewed_while_its_holder_blocks(catalog: Catalog) -> None:
    limits = replace(DEFAULT, lease_seconds=1)
    lease = Lease("x", "blocking")
    with catalog.writing() as connection:
        assert lease.acquire(connection, limits)
    with Renewal(catalog, lease, limits):
        seen: list[float] = []
        until = time.monotonic() + 2.5
        while time.monotonic() < until:
            with catalog.reading() as connection:
                held = holding(connection, "x")
            seen.append(held.seconds_left if held else 0.0)
            assert held is not None
        assert max(seen) <= 1.0
    assert acquire(catalog, Lease("x", "next"))
