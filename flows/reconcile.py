"""See what is really there. For now it only observes: it repairs nothing."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from tasks import reports, runs, versions


@lifecycle("reconcile", run_name="reconcile")
async def reconcile() -> None:
    """Looks at every replica and engine and records what was seen, beside what should be."""
    await reports.show_state(await versions.observe())
    await runs.conclude_lost()
