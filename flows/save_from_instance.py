"""Make a model that lives inside a running instance an entry of the library."""

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
    """Saves a model that someone pulled or made inside an Ollama instance. The instance goes on; only what the store lacks is
    copied.

    Args:
        instance: The instance's name.
        model: What the instance calls it: `name` or `name:tag`.
        name: What the library calls it; by default the same name.
        version: What its version is called, before the pin's eight digits; by default the tag.
        project: The project that owns both.
        category: What it is used for; by default what its files say.
        dry_run: Only say what would be copied.
    """
    uri = InstanceUri(InstanceName(instance), OllamaName.parse(model))
    origin = InstanceOrigin(uri, ProjectName(project), Tag(version) if version else None)
    plan = await bring_in(origin, name=name, project=project, category=category, allow_code=False, dry_run=dry_run)
    return str(plan.ref)
