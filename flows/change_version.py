"""Name a version, mark it, or let go of either: small changes that are decided in one transaction."""

from __future__ import annotations

from typing import Literal

from flows.lifecycle import lifecycle
from flows.parameters import ShortText
from modelshelf.names import ModelRef, ProjectName, Tag
from tasks import versions

Change = Literal["promote", "roll-back", "unalias", "disable", "enable", "auto-cache", "no-auto-cache", "pin", "unpin"]


@lifecycle("change-version", run_name="{change} {model} {alias}")
async def change_version(model: ShortText, change: Change, alias: ShortText = "", project: ShortText = "default") -> str:
    """Changes what a version is called or marked with. What it consists of never changes.

    Args:
        model: `model:tag` or `model:version`; for roll-back and unalias the model alone is enough.
        change: Promote lets the alias name this version and keeps it from deletion; roll-back returns the alias to what it
            named before; disabled versions cannot be launched anew; auto-cached ones are brought to every node; a pinned
            replica is never evicted.
        alias: The name to promote to, roll back or let go: `stable`.
        project: The project that owns it.
    """
    ref, tag = ModelRef.parse(model), Tag(alias) if alias else None
    changed = await versions.change(ProjectName(project), ref, change, tag)
    await versions.record_change(changed, change, tag)
    return str(changed)
