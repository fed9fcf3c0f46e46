"""Define a template: an engine, what it gets, and the versions that it serves."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from flows.parameters import Arguments, AtMostBytes, AtMostCount, EngineChoice, ShortText, Texts, launch_request
from modelshelf.names import ModelRef, ProjectName, ServedName, TemplateName
from tasks import templates


@lifecycle("define-template", run_name="template {template}")
async def define_template(
    template: ShortText,
    models: Texts,
    engine: EngineChoice = "auto",
    arguments: Arguments = [],  # noqa: B006 - Prefect shows the default in its form
    environment: Arguments = [],  # noqa: B006
    cpus: AtMostCount = -1,
    memory: AtMostBytes = -1,
    project: ShortText = "default",
) -> str:
    """Defines a template, or a new revision of it. Instances that were launched from it keep their settings and versions.

    Args:
        template: The template's name.
        models: Each `model:tag`, or `name=model:tag` to serve it under another name. Aliases are resolved to versions now.
        engine: Must accept the format of every version. `auto` chooses by format, an installed engine first.
        arguments: More arguments for the engine itself.
        environment: More environment for the engine, each `NAME=VALUE`; no secrets.
        cpus: The number of processors; 0 or -1 means all.
        memory: Bytes for all processes of an instance together; 0 or -1 means no limit.
        project: The project that owns it.
    """
    request = launch_request(engine, "", 0, arguments, environment, cpus, memory, "", unprotected=False)
    named = []
    for text in models:
        served, equals, ref = text.rpartition("=")
        named.append((ModelRef.parse(ref), ServedName(served) if equals else None))
    defined = await templates.define(ProjectName(project), TemplateName(template), tuple(named), request)
    return f"{defined.name}@{defined.number}"


@lifecycle("delete-template", run_name="delete template {template}")
async def delete_template(template: ShortText, project: ShortText = "default") -> str:
    """Deletes a template. Instances that were launched from it keep their own copy.

    Args:
        template: The template's name.
        project: The project that owns it.
    """
    await templates.remove(ProjectName(project), TemplateName(template))
    return template
