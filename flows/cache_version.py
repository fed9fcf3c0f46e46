"""Put a version's files on a node before they are needed."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from flows.parameters import ShortText
from modelshelf.errors import outcome
from modelshelf.names import ModelRef, NodeName, ProjectName
from tasks import versions


@lifecycle("cache-version", run_name="cache {model} on {node}")
async def cache_version(
    model: ShortText, node: ShortText = "local", project: ShortText = "default", pin: bool = False, auto: bool = False,
    dry_run: bool = False,
) -> str:  # fmt: skip
    """Caches a version's files on a node, completely or not at all.

    Args:
        model: `model`, `model:tag` or `model:version`.
        node: The node's name.
        project: The project that asks.
        pin: Never evict this replica.
        auto: Cache the version again whenever it is missing, and on every node that is added.
        dry_run: Only show what would be done.
    """
    asking, ref = ProjectName(project), ModelRef.parse(model)
    with outcome("The version is not on the node.", again="Copied files are kept: cache it again to resume."):
        plan = await versions.plan_cache(asking, ref, NodeName(node))
        if not dry_run:
            await versions.fill_replica(asking, ref, plan.node)
    if pin and not dry_run:
        await versions.change(asking, ref, "pin", None)
    if auto and not dry_run:
        await versions.change(asking, ref, "auto-cache", None)
    return str(plan.ref)
