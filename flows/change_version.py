"""Change a version's aliases or marks: small changes, each decided in one transaction."""

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
    """Changes a version's aliases or marks, or a model's category. The content of a version never changes.

    Args:
        model: `model:tag` or `model:version`; for unalias and category, the model alone is enough. For roll-back, the model
            alone means the version before the alias's last move.
        change: Promote moves the alias to this version and protects it from deletion; roll-back moves the alias back to the
            version before; disabled versions cannot be launched; auto-cached versions are cached on every node; a pinned
            replica is never evicted; category sets what all versions of the model are used for.
        alias: The alias to promote, roll back or remove: `stable`.
        category: For the change `category`: what the model is used for from now on.
        project: The project that owns it.
    """
    ref, tag = ModelRef.parse(model), Tag(alias) if alias else None
    changed = await versions.change(ProjectName(project), ref, change, tag, category)
    await versions.record_change(changed)
    return str(changed.ref)
