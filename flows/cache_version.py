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
    """Puts a version's files on a node, complete or not at all.

    Args:
        model: `model`, `model:tag` or `model:version`.
        node: The node's name.
        project: The project that asks.
        pin: Never evict it from the node.
        auto: Bring it back whenever it is missing, and to every node that is added.
        dry_run: Only say what would be done.
    """
    asking, ref = ProjectName(project), ModelRef.parse(model)
    with outcome("It is not on the node.", again="What was copied is kept: cache it again and it goes on from there."):
        plan = await versions.plan_cache(asking, ref, NodeName(node))
        if not dry_run:
            await versions.fill_replica(asking, ref, plan.node)
    if pin and not dry_run:
        await versions.change(asking, ref, "pin", None)
    if auto and not dry_run:
        await versions.change(asking, ref, "auto-cache", None)
    return str(plan.ref)
