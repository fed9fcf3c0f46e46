"""Check every replica and engine. This flow only observes; nothing is repaired."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from tasks import reports, runs, versions


@lifecycle("reconcile", run_name="reconcile")
async def reconcile() -> None:
    """Checks every replica and engine, and records their state beside the state that was recorded before."""
    await reports.show_state(await versions.observe())
    await runs.conclude_lost()
