"""Start an engine that serves one or more versions, and prove that it does."""

from __future__ import annotations

import time

from prefect import flow

from flows.parameters import Arguments, Bytes, Count, Port, ShortText
from modelshelf.errors import outcome
from modelshelf.library.launching.request import LaunchRequest
from modelshelf.names import EngineName, InstanceName, ModelRef, ProjectName, ServedName, TemplateName
from tasks import instances, leases
from tasks.clock import seconds_in_queue


@flow(name="launch-instance", flow_run_name="launch {model}{template} {instance}")
async def launch_instance(
    model: ShortText = "",
    template: ShortText = "",
    instance: ShortText = "",
    served_name: ShortText = "",
    engine: EngineName = "llamacpp",
    port: Port = 0,
    bind: ShortText = "127.0.0.1",
    arguments: Arguments = [],  # noqa: B006 - Prefect shows the default in its form
    environment: Arguments = [],  # noqa: B006
    cpus: Count = 0,
    memory: Bytes = 0,
    key: ShortText = "",
    unprotected: bool = False,
    project: ShortText = "default",
    dry_run: bool = False,
) -> str:
    """Starts an engine that serves a version, or what a template names.

    Ready means: the engine lists every model under its served name and recorded digest, and one token of each came back.
    Running it again finds the instance that runs, or starts a stopped one with what it was started with before.

    Args:
        model: `model`, `model:tag` or `model:version`; what is pinned is the version.
        template: A template's name, in place of a model.
        instance: The instance's name; by default the model's or template's. Alone, it is started again as it was.
        served_name: What requests call the model; by default the model's name in the library.
        engine: What serves.
        port: 0 takes a free one, and keeps it through restarts.
        bind: The address to listen at. Beyond this machine a key is required.
        arguments: More arguments for the engine itself.
        environment: More environment for the engine, each `NAME=VALUE`; no secrets.
        cpus: Processors that it may use; 0 is all.
        memory: Bytes that it may allocate beside the weights; 0 is no limit.
        key: The block with the key that requests must carry (`modelshelf login engine NAME`).
        unprotected: Listen beyond this machine without a key.
        project: The project that owns it.
        dry_run: Only say what would be done.
    """
    began, queued = time.monotonic(), seconds_in_queue()
    asking = ProjectName(project)
    request = LaunchRequest(engine, bind, port, tuple(arguments), tuple(environment), cpus, memory, key, unprotected)
    with outcome("Nothing new runs.", again="Launch it again."):
        name, serves, asked = await instances.asked_for(
            asking,
            ModelRef.parse(model) if model else None,
            TemplateName(template) if template else None,
            ServedName(served_name) if served_name else None,
            InstanceName(instance) if instance else None,
            request,
        )
        plan = await instances.plan(asking, name, serves, asked)
        nothing_to_do = dry_run or plan.running
        if not nothing_to_do:
            async with leases.hold(f"instance {asking}/{name}"):
                await instances.launch(asking, name, serves, asked, began=began, queued=queued)
    return str(name)
