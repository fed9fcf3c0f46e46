"""One run at a time: who comes second waits, and finds what the first one did."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from modelshelf.catalog.leases import Holding, Lease, LeaseName, Renewal
from modelshelf.catalog.versions import Version
from modelshelf.errors import ModelshelfError
from modelshelf.library.importing import give_up
from modelshelf.library.leases import take_lease
from tasks import logs
from tasks.library import library, who
from tasks.threads import in_thread


@asynccontextmanager
async def hold(name: LeaseName) -> AsyncIterator[Lease]:
    """The lease is ours within; a thread of its own renews it, so that nothing that blocks us lets it lapse."""
    lease = Lease(name, says=who())
    before = ""

    def waiting(other: Holding) -> None:
        nonlocal before
        if other.says != before:  # told of once a second
            logs.say(f"Waiting for {other.says}, which does the same work; its lease expires in {other.seconds_left:.0f} s.")
            before = other.says

    await in_thread(lambda stop: take_lease(library(), lease, stop, waiting))
    with Renewal(library().catalog, lease):
        yield lease


@asynccontextmanager
async def importing(version: Version) -> AsyncIterator[Lease]:
    """Alone at this version within. If the import fails, the version says why.

    An interrupted one says nothing: that it was interrupted is seen from its lapsed lease.
    """
    async with hold(version.lease) as lease:
        try:
            yield lease
        except ModelshelfError as error:
            give_up(library(), version, lease, str(error), who())
            raise
