"""Bring a model from an Ollama registry into the library, as one verified image."""

from __future__ import annotations

from flows.importing import bring_in
from flows.lifecycle import lifecycle
from flows.parameters import CategoryOrNone, ShortText
from modelshelf.sources.uri import OllamaName, OllamaUri
from tasks.sources import OllamaOrigin


@lifecycle("import-ollama", run_name="import {model}")
async def import_ollama(
    model: ShortText,
    name: ShortText = "",
    project: ShortText = "default",
    category: CategoryOrNone = "",
    dry_run: bool = False,
) -> str:
    """Brings a model from an Ollama registry into the library.

    Afterwards the version is ready, or the catalog says why it is not. Safe to run again: every step finds what an
    earlier run finished and goes on from there.

    Args:
        model: As for `ollama pull`: `qwen3:0.6b`, `namespace/name:tag`, `host/namespace/name:tag`.
        name: What the library calls it; by default the model's own name.
        project: The project that owns it.
        category: What it is used for; by default what its files say.
        dry_run: Only say what would be fetched.
    """
    origin = OllamaOrigin(OllamaUri(OllamaName.parse(model)))
    plan = await bring_in(origin, name=name, project=project, category=category, allow_code=False, dry_run=dry_run)
    return str(plan.ref)
