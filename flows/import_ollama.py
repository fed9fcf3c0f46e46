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
    """Imports a model from an Ollama registry.

    Afterwards the version is ready, or the catalog records why it is not. Running the import again is safe: each step finds
    what an earlier run finished and resumes from there.

    Args:
        model: As for `ollama pull`: `qwen3:0.6b`, `namespace/name:tag`, `host/namespace/name:tag`.
        name: The model's name in the library; by default its own name.
        project: The project that owns it.
        category: What the model is used for; by default as its files indicate.
        dry_run: Only show what would be fetched.
    """
    origin = OllamaOrigin(OllamaUri(OllamaName.parse(model)))
    plan = await bring_in(origin, name=name, project=project, category=category, allow_code=False, dry_run=dry_run)
    return str(plan.ref)
