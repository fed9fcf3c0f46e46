"""Bring every version that is marked for it to this node before it is needed."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from flows.parameters import Minutes
from tasks import reports, upkeep


@lifecycle("warm-up", run_name="warm up")
async def warm_up(minutes: Minutes = 0) -> int:
    """Caches every version that is marked `auto-cache`. Returns how many are there at the end.

    A version that does not fit into the node's budget is skipped and said, with the numbers.

    Args:
        minutes: Begin no more versions after so long, and report which were not reached; 0 is no limit.
    """
    warmed = await upkeep.warm_up(seconds=minutes * 60 or None)
    await reports.show_warmed(warmed)
    return sum(one.there for one in warmed)
