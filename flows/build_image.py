"""Write a version's image as an OCI layout."""

from __future__ import annotations

from pathlib import Path

from flows.lifecycle import lifecycle
from flows.parameters import ShortText
from modelshelf.names import ModelRef, ProjectName
from tasks import versions


@lifecycle("build-image", run_name="build {model}")
async def build_image(model: ShortText, to: ShortText, project: ShortText = "default", dry_run: bool = False) -> str:
    """Builds a version's image from the store and writes it to a folder. Its digest is the recorded one.

    Args:
        model: `model`, `model:tag` or `model:version`.
        to: A new or empty folder: an absolute path on the machine where this runs.
        project: The project that asks.
        dry_run: Only show what would be written.
    """
    asking = ProjectName(project)
    plan = await versions.plan_build(asking, ModelRef.parse(model), Path(to))
    if not dry_run:
        await versions.build(asking, plan)
    return str(plan.image)
