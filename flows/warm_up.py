"""Bring every version that is marked for it to this node before it is needed."""

from __future__ import annotations

from prefect import flow

from tasks import reports, upkeep


@flow(name="warm-up", flow_run_name="warm up")
async def warm_up() -> int:
    """Caches every version that is marked `auto-cache`. Returns how many are there at the end.

    A version that does not fit into the node's budget is skipped and said, with the numbers.
    """
    warmed = await upkeep.warm_up()
    await reports.show_warmed(warmed)
    return sum(not one.outcome.startswith("skipped") for one in warmed)
