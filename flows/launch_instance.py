"""Start an engine that serves one or more versions, and prove that it does."""

from __future__ import annotations

import time

from flows.lifecycle import lifecycle
from flows.parameters import Arguments, AtMostBytes, AtMostCount, EngineChoice, Port, ShortText, launch_request
from modelshelf.catalog.leases import instance_lease
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
    """Starts an engine that serves a version or a template.

    An instance is ready when the engine lists every model under its served name and recorded digest, and each has answered.
    Launching again finds the running instance, or starts a stopped one with its former settings. A field that keeps its
    default asks for nothing: the template, or the instance's last start, decides.

    Args:
        model: `model`, `model:tag` or `model:version`; an alias is resolved to a version now.
        template: A template's name, in place of a model.
        instance: The instance's name; by default the model's or template's. Given alone, that instance starts as before.
        served_name: The model's name in requests; by default its name in the library.
        engine: `auto`: as before, or else chosen by format, an installed engine first.
        port: 0: as before, or else a free port, which is kept across restarts.
        bind: The address to listen on. Empty: as before, or else 127.0.0.1. Other addresses than loopback require a key.
        arguments: More arguments for the engine itself. Empty: as before.
        environment: More environment variables for the engine, each `NAME=VALUE`; no secrets. Empty: as before.
        cpus: The number of processors; 0 means all. -1: as before, or else all.
        memory: Bytes for all its processes together; 0 means no limit. -1: as before, or else no limit.
        key: The block with the key that requests must carry (`modelshelf login engine NAME`). Empty: as before.
        unprotected: Allow other machines to connect without a key.
        project: The project that owns it.
        dry_run: Only show what would be done.
    """
    began, queued = time.monotonic(), seconds_in_queue()
    asking = ProjectName(project)
    with outcome("No new engine runs.", again="Launch it again."):
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
            async with leases.hold(instance_lease(asking, spec.instance)):
                await instances.launch(asking, spec, began=began, queued=queued)
    return str(spec.instance)
