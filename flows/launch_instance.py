"""Start an engine that serves one or more versions, and prove that it does."""

from __future__ import annotations

import time

from flows.lifecycle import lifecycle
from flows.parameters import Arguments, AtMostBytes, AtMostCount, EngineChoice, Port, ShortText, launch_request
from modelshelf.catalog.instances import lease_name
from modelshelf.errors import outcome
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName, TemplateName
from tasks import instances, leases
from tasks.clock import seconds_in_queue


@lifecycle("launch-instance", run_name="launch {model} {template} {instance}")
async def launch_instance(
    model: ShortText = "",
    template: ShortText = "",
    instance: ShortText = "",
    served_name: ShortText = "",
    engine: EngineChoice = "auto",
    port: Port = 0,
    bind: ShortText = "",
    arguments: Arguments = [],  # noqa: B006 - Prefect shows the default in its form
    environment: Arguments = [],  # noqa: B006
    cpus: AtMostCount = -1,
    memory: AtMostBytes = -1,
    key: ShortText = "",
    unprotected: bool = False,
    project: ShortText = "default",
    dry_run: bool = False,
) -> str:
    """Starts an engine that serves a version, or what a template names.

    Ready means: the engine lists every model under its served name and recorded digest, and one answer of each came back.
    Running it again finds the instance that runs, or starts a stopped one with what it was started with before. A field that
    is left as it is asks for nothing: the template, or the instance from before, decides.

    Args:
        model: `model`, `model:tag` or `model:version`; what is pinned is the version.
        template: A template's name, in place of a model.
        instance: The instance's name; by default the model's or template's. Alone, it is started again as it was.
        served_name: What requests call the model; by default the model's name in the library.
        engine: What serves. `auto` asks for none: as before, else by format and by what is installed.
        port: 0 asks for none: as before, else a free one, which is kept through restarts.
        bind: The address to listen at. Empty asks for none: as before, else 127.0.0.1. Beyond this machine a key is required.
        arguments: More arguments for the engine itself. An empty list asks for none: as before.
        environment: More environment for the engine, each `NAME=VALUE`; no secrets. An empty list asks for none: as before.
        cpus: Processors that it may use; 0 is all. -1 asks for none: as before, else all.
        memory: Bytes that all its processes may use together; 0 is no limit. -1 asks for none: as before, else no limit.
        key: The block with the key that requests must carry (`modelshelf login engine NAME`). Empty asks for none: as before.
        unprotected: Listen beyond this machine without a key.
        project: The project that owns it.
        dry_run: Only show what would be done.
    """
    began, queued = time.monotonic(), seconds_in_queue()
    asking = ProjectName(project)
    with outcome("Nothing new runs.", again="Launch it again."):
        spec = await instances.resolve(
            asking,
            ModelRef.parse(model) if model else None,
            TemplateName(template) if template else None,
            ServedName(served_name) if served_name else None,
            InstanceName(instance) if instance else None,
            launch_request(engine, bind, port, arguments, environment, cpus, memory, key, unprotected=unprotected),
        )
        plan = await instances.plan(asking, spec)
        nothing_to_do = dry_run or plan.running
        if not nothing_to_do:
            async with leases.hold(lease_name(asking, spec.instance)):
                await instances.launch(asking, spec, began=began, queued=queued)
    return str(spec.instance)
