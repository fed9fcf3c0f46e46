"""Take a version's files off this node."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from flows.parameters import ShortText
from modelshelf.names import ModelRef, ProjectName
from tasks import upkeep


@lifecycle("evict-replica", run_name="evict {model}")
async def evict_replica(model: ShortText, project: ShortText = "default") -> int:
    """Removes a version's files from this node; the store keeps them. A replica that is pinned or in use is not removed.

    Args:
        model: `model`, `model:tag` or `model:version`.
        project: The project that asks.
    """
    return await upkeep.evict(ProjectName(project), ModelRef.parse(model))
