"""Bring a model from the Hugging Face Hub into the library, as one verified image."""

from __future__ import annotations

from flows.importing import bring_in
from flows.lifecycle import lifecycle
from flows.parameters import CategoryOrNone, Patterns, ShortText
from modelshelf.sources.uri import HuggingFaceUri
from tasks.sources import HuggingFaceOrigin


@lifecycle("import-huggingface", run_name="import {repo}@{revision} {quantization}")
async def import_huggingface(
    repo: ShortText,
    revision: ShortText = "main",
    quantization: ShortText = "",
    include: Patterns = [],  # noqa: B006 - Prefect shows the default in its form
    exclude: Patterns = [],  # noqa: B006
    name: ShortText = "",
    project: ShortText = "default",
    category: CategoryOrNone = "",
    hub: ShortText = "default",
    allow_code: bool = False,
    dry_run: bool = False,
) -> str:
    """Imports a model from the Hugging Face Hub.

    The branch or tag is pinned to a commit. Pickle weights are never fetched. Afterwards the version is ready, or the
    catalog records why it is not. Running the import again is safe.

    Args:
        repo: `org/repo`, or the address of the repository's page.
        revision: A branch, a tag or a commit.
        quantization: `Q4_K_M`, or a file's name, where the repository has several.
        include: Shell patterns; only files that match one are imported.
        exclude: Shell patterns; files that match one are omitted.
        name: The model's name in the library; by default the repository's name.
        project: The project that owns it.
        category: What the model is used for; by default as its files indicate.
        hub: The block with the Hub's address and token (`modelshelf login huggingface`).
        allow_code: Import the publisher's code too, and allow a configuration that names code (`auto_map`).
        dry_run: Only show what would be fetched.
    """
    uri = HuggingFaceUri.of(repo, revision, quantization)
    origin = HuggingFaceOrigin(uri, hub, tuple(include), tuple(exclude), allow_code)
    plan = await bring_in(origin, name=name, project=project, category=category, allow_code=allow_code, dry_run=dry_run)
    return str(plan.ref)
