"""Put a version's files on a node before they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flows.lifecycle import lifecycle
from flows.parameters import ShortText
from modelshelf.errors import outcome
from modelshelf.names import ModelRef, NodeName, ProjectName
from tasks import versions


def _name(given: Mapping[str, Any]) -> str:
    return f"cache {given['model']} on {given['node']}" if given.get("node") else f"cache {given['model']}"


@lifecycle("cache-version", run_name=_name)
async def cache_version(
    model: ShortText, node: ShortText = "", project: ShortText = "default", pin: bool = False, auto: bool = False,
    dry_run: bool = False,
) -> str:  # fmt: skip
    """Caches a version's files on a node, completely or not at all.

    Args:
        model: `model`, `model:tag` or `model:version`.
        node: The node's name; empty for the node that this runs on.
        project: The project that asks.
        pin: Never evict this replica.
        auto: Cache the version again whenever it is missing, and on every node that is added.
        dry_run: Only show what would be done.
    """
    asking, ref = ProjectName(project), ModelRef.parse(model)
    with outcome("The version is not on the node.", again="Copied files are kept: cache it again to resume."):
        plan = await versions.plan_cache(asking, ref, NodeName(node) if node else None)
        if not dry_run:
            await versions.fill_replica(asking, ref, plan.node)
    if pin and not dry_run:
        await versions.change(asking, ref, "pin", None)
    if auto and not dry_run:
        await versions.change(asking, ref, "auto-cache", None)
    return str(plan.ref)
