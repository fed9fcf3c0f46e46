"""Save a model from inside a running instance to the library."""

from __future__ import annotations

from flows.importing import bring_in
from flows.lifecycle import lifecycle
from flows.parameters import CategoryOrNone, ShortText
from modelshelf.names import InstanceName, ProjectName, Tag
from modelshelf.sources.uri import InstanceUri, OllamaName
from tasks.sources import InstanceOrigin


@lifecycle("save-from-instance", run_name="save {model} from {instance}")
async def save_from_instance(
    instance: ShortText,
    model: ShortText,
    name: ShortText = "",
    version: ShortText = "",
    project: ShortText = "default",
    category: CategoryOrNone = "",
    dry_run: bool = False,
) -> str:
    """Saves a model that was pulled or made inside an Ollama instance. The instance keeps running; only files that the store
    lacks are copied.

    Args:
        instance: The instance's name.
        model: The model's name in the instance: `name` or `name:tag`.
        name: The model's name in the library; by default the same name.
        version: The version's name, without the eight digits of its pin; by default the tag.
        project: The project that owns both.
        category: What the model is used for; by default as its files indicate.
        dry_run: Only show what would be copied.
    """
    uri = InstanceUri(InstanceName(instance), OllamaName.parse(model))
    origin = InstanceOrigin(uri, ProjectName(project), Tag(version) if version else None)
    plan = await bring_in(origin, name=name, project=project, category=category, allow_code=False, dry_run=dry_run)
    return str(plan.ref)
