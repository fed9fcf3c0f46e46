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
    """Brings a model from the Hugging Face Hub into the library.

    The branch or tag is pinned to a commit once. Pickle weights are never fetched. Afterwards the version is ready, or
    the catalog says why it is not. Safe to run again.

    Args:
        repo: `org/repo`, or the address of its page.
        revision: A branch, a tag or a commit.
        quantization: Which weights, where the repository has several: `Q4_K_M`, or a file's name.
        include: Shell patterns; only files that match one are taken.
        exclude: Shell patterns; files that match one are left out.
        name: What the library calls it; by default the repository's own name.
        project: The project that owns it.
        category: What it is used for; by default what its files say.
        hub: The block with the Hub's address and token (`modelshelf login huggingface`).
        allow_code: Take the publisher's code along, and the model although its configuration names code (`auto_map`).
        dry_run: Only say what would be fetched.
    """
    uri = HuggingFaceUri.of(repo, revision, quantization)
    origin = HuggingFaceOrigin(uri, hub, tuple(include), tuple(exclude), allow_code)
    plan = await bring_in(origin, name=name, project=project, category=category, allow_code=allow_code, dry_run=dry_run)
    return str(plan.ref)
