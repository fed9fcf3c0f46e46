"""Copy a folder of this machine into the library, as one verified image."""

from __future__ import annotations

from flows.importing import bring_in
from flows.lifecycle import lifecycle
from flows.parameters import CategoryOrNone, Patterns, ShortText
from modelshelf.sources.uri import FolderUri
from tasks.sources import FolderOrigin


@lifecycle("import-folder", run_name="import {path}")
async def import_folder(
    path: ShortText,
    name: ShortText = "",
    include: Patterns = [],  # noqa: B006 - Prefect shows the default in its form
    exclude: Patterns = [],  # noqa: B006
    project: ShortText = "default",
    category: CategoryOrNone = "",
    allow_code: bool = False,
    dry_run: bool = False,
) -> str:
    """Copies a folder, or one GGUF, into the library. The folder itself is not changed and not needed afterwards.

    Args:
        path: An absolute path on the machine where this runs; add `:Q4_K_M` to choose one of several GGUF files.
        name: The model's name in the library; by default the folder's name.
        include: Import only files that match one of these patterns.
        exclude: Omit files that match one of these patterns.
        project: The project that owns it.
        category: What the model is used for; by default as its files indicate.
        allow_code: Import the publisher's code too, and allow a configuration that names code.
        dry_run: Only show what would be copied.
    """
    origin = FolderOrigin(FolderUri.parse(path), tuple(include), tuple(exclude), allow_code)
    plan = await bring_in(origin, name=name, project=project, category=category, allow_code=allow_code, dry_run=dry_run)
    return str(plan.ref)
