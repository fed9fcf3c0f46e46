"""Write a version's image as an OCI layout."""

from __future__ import annotations

from pathlib import Path

from flows.lifecycle import lifecycle
from flows.parameters import ShortText
from modelshelf.names import ModelRef, ProjectName
from tasks import versions


@lifecycle("build-image", run_name="build {model}")
async def build_image(model: ShortText, to: ShortText, project: ShortText = "default", dry_run: bool = False) -> str:
    """Builds a version's image again from the store and writes it where it is asked for; its digest is the recorded one.

    Args:
        model: `model`, `model:tag` or `model:version`.
        to: An absolute path on the machine where this runs: a new or empty folder.
        project: The project that asks.
        dry_run: Only say what would be written.
    """
    asking = ProjectName(project)
    plan = await versions.plan_build(asking, ModelRef.parse(model), Path(to))
    if not dry_run:
        await versions.build(asking, plan)
    return str(plan.image)
