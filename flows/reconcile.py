"""Check every replica and engine, and start to bring back what should be there and is not."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from tasks import recovery, reports, runs, versions


@lifecycle("reconcile", run_name="reconcile")
async def reconcile() -> None:
    """Checks every replica and engine, and records their state beside the state that was recorded before.

    An instance whose engine ended without being stopped is started again, and a replica that is lost is filled again, each by
    a run of its own. A look that only looked is deleted by the next one.
    """
    await reports.show_state(await versions.observe())
    ended = await runs.conclude_lost()
    started = await recovery.dispatch(await recovery.claim_lost())
    await runs.thin_out([*ended, *started])
