"""Remove a version that nothing uses, and the bytes that only it used."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from flows.parameters import ShortText
from modelshelf.names import ModelRef, ProjectName
from tasks import versions


@lifecycle("delete-version", run_name="delete {model}")
async def delete_version(model: ShortText, project: ShortText = "default", dry_run: bool = False) -> str:
    """Deletes a version. If it is in use, the run is refused and every user is named.

    Args:
        model: `model:tag` or `model:version`.
        project: The project that owns it.
        dry_run: Only show what would be freed.
    """
    asking, ref = ProjectName(project), ModelRef.parse(model)
    plan = await versions.plan_deletion(asking, ref)
    if not dry_run:
        await versions.delete(asking, plan.ref)
    return str(plan.ref)
