"""Start an engine that serves a version, and prove that it does."""

from __future__ import annotations

import time

from prefect import flow

from flows.parameters import Arguments, EngineName, Port, ShortText
from modelshelf.library.launching import LaunchRequest
from modelshelf.names import InstanceName, ModelRef, ProjectName
from tasks import instances, leases, reports
from tasks.clock import seconds_in_queue


@flow(name="launch-instance", flow_run_name="launch {model}")
async def launch_instance(
    model: ShortText,
    instance: ShortText = "",
    served_name: ShortText = "",
    engine: EngineName = "llamacpp",
    port: Port = 0,
    bind: ShortText = "127.0.0.1",
    arguments: Arguments = [],  # noqa: B006 - Prefect shows the default in its form
    key: ShortText = "",
    unprotected: bool = False,
    project: ShortText = "default",
    dry_run: bool = False,
) -> str:
    """Starts an engine that serves a version.

    Ready means: the engine lists the model under its served name, and one token came back. Running it again finds the
    instance that runs, or starts a stopped one with what it was started with before.

    Args:
        model: `model`, `model:tag` or `model:version`; what is pinned is the version.
        instance: The instance's name; by default the model's.
        served_name: What requests call the model; by default the model's name in the library.
        engine: What serves.
        port: 0 takes a free one, and keeps it through restarts.
        bind: The address to listen at. Beyond this machine a key is required.
        arguments: More arguments for the engine itself.
        key: The block with the key that requests must carry (`modelshelf login engine NAME`).
        unprotected: Listen beyond this machine without a key.
        project: The project that owns it.
        dry_run: Only say what would be done.
    """
    began, queued = time.monotonic(), seconds_in_queue()
    asking, ref = ProjectName(project), ModelRef.parse(model)
    version = await instances.resolve(asking, ref)
    name = InstanceName(instance or version.model.text)
    asked = LaunchRequest(engine, bind, port, tuple(arguments), key, unprotected)
    served, request = await instances.as_kept(asking, name, version, served_name, asked)
    plan = await instances.plan(asking, name, version, served, request)
    nothing_to_do = dry_run or plan.running
    if nothing_to_do:
        return str(plan.instance)

    async with leases.hold(f"instance {asking}/{name}"):
        folder = await instances.fill_replica(asking, version)
        cached = time.monotonic()
        recorded = await instances.record(asking, name, version, served, request)
        started = await instances.start(asking, recorded, folder, request.key_block)
        spawned = time.monotonic()
        probed = await instances.wait_until_ready(asking, started, folder, request.key_block)
        stages = {
            "queue": queued,
            "replica": cached - began,
            "create": spawned - cached,
            "engine up": probed.engine_up,
            "model visible": probed.model_visible - probed.engine_up,
            "first token": probed.first_token - probed.model_visible,
        }
        ready = await instances.mark_ready(asking, started, stages)
    await reports.show_start(ready, f"http://{ready.bind}:{ready.port}", stages)
    return str(ready.name)
