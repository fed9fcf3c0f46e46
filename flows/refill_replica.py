"""Fill a replica again that was lost."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from flows.parameters import ShortText
from modelshelf.errors import outcome
from modelshelf.names import ModelRef, ProjectName
from tasks import recovery


@lifecycle("refill-replica", run_name="refill {model}")
async def refill_replica(model: ShortText, project: ShortText = "default") -> bool:
    """Fills a replica whose files are gone or were changed, if it is still wanted on this node.

    `reconcile` starts this flow, and waits longer before each next try. Returns whether the replica is complete now.

    Args:
        model: `model:version`.
        project: The project that owns the version.
    """
    with outcome("The version is not on the node; it is tried again later.", again="Or cache it yourself: `modelshelf cache`."):
        return await recovery.refill(ProjectName(project), ModelRef.parse(model))
