"""Doing something alone: whoever comes second waits, and finds what the first one did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from modelshelf.catalog import leases
from modelshelf.catalog.leases import Holding, Lease, Renewal
from modelshelf.library.opening import Library
from modelshelf.stop import StopToken


def take_lease(library: Library, lease: Lease, stop: StopToken, waiting: Callable[[Holding], None] = lambda _: None) -> None:
    """The lease is ours: whoever had it was waited for, and told of once a second."""
    while True:
        with library.catalog.writing() as connection:
            if lease.acquire(connection):
                return
            other = leases.holding(connection, lease.name)
        if other is not None:
            waiting(other)
        stop.wait(1.0)


@contextmanager
def alone(library: Library, lease: Lease, stop: StopToken) -> Iterator[None]:
    """The lease is ours within, renewed by itself and released at the end."""
    take_lease(library, lease, stop)
    with Renewal(library.catalog, lease):
        yield
