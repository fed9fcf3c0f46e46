"""Name a version, mark it, or let go of either: small changes that are decided in one transaction."""

from __future__ import annotations

from typing import Literal

from flows.lifecycle import lifecycle
from flows.parameters import CategoryOrNone, ShortText
from modelshelf.names import ModelRef, ProjectName, Tag
from tasks import versions

Change = Literal[
    "promote", "roll-back", "unalias", "disable", "enable", "auto-cache", "no-auto-cache", "pin", "unpin", "category"
]


@lifecycle("change-version", run_name="{change} {model} {alias}")
async def change_version(
    model: ShortText, change: Change, alias: ShortText = "", category: CategoryOrNone = "", project: ShortText = "default"
) -> str:
    """Changes what a version is called or marked with. What it consists of never changes.

    Args:
        model: `model:tag` or `model:version`; for roll-back, unalias and category the model alone is enough.
        change: Promote lets the alias name this version and keeps it from deletion; roll-back returns the alias to what it
            named before; disabled versions cannot be launched anew; auto-cached ones are brought to every node; a pinned
            replica is never evicted; category changes what all versions of the model are used for.
        alias: The name to promote to, roll back or let go: `stable`.
        category: What the model is used for from now on, for the change `category`.
        project: The project that owns it.
    """
    ref, tag = ModelRef.parse(model), Tag(alias) if alias else None
    changed = await versions.change(ProjectName(project), ref, change, tag, category)
    await versions.record_change(changed, change, tag)
    return str(changed)
