"""Cache every version that is marked for it on this node, before it is needed."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from flows.parameters import Minutes
from tasks import reports, upkeep


@lifecycle("warm-up", run_name="warm up")
async def warm_up(minutes: Minutes = 0) -> int:
    """Caches every version that is marked `auto-cache` on this node. Returns how many are cached at the end.

    A version that does not fit into the node's budget is skipped and reported, with the sizes.

    Args:
        minutes: Begin no further version after this many minutes, and report which were not reached; 0 means no limit.
    """
    warmed = await upkeep.warm_up(seconds=minutes * 60 or None)
    await reports.show_warmed(warmed)
    return sum(one.there for one in warmed)
