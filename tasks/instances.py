"""The steps of a launch, and of its end."""

from __future__ import annotations

import time

from blocks.engine_key import EngineKey
from modelshelf.catalog.instances import Instance
from modelshelf.errors import BadSetting, ModelshelfError
from modelshelf.library import caching, running, switching
from modelshelf.library.launching import plan as planning
from modelshelf.library.launching import prove
from modelshelf.library.launching import request as asking
from modelshelf.library.launching import start as starting
from modelshelf.library.launching.plan import LaunchPlan
from modelshelf.library.launching.prove import Probed
from modelshelf.library.launching.request import LaunchRequest, Serves
from modelshelf.library.switching import SwitchPlan
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName, TemplateName
from modelshelf.stop import StopToken
from tasks import reports
from tasks.events import tell
from tasks.library import library, recorded, who
from tasks.retries import step
from tasks.threads import in_thread


@step
async def asked_for(
    project: ProjectName,
    model: ModelRef | None,
    template: TemplateName | None,
    served: ServedName | None,
    name: InstanceName | None,
    request: LaunchRequest,
) -> tuple[InstanceName, Serves, LaunchRequest]:
    """What the launch means: which versions, under which names, with which settings."""
    return await in_thread(
        lambda _stop: asking.asked_for(
            library(), project, model=model, template=template, served=served, name=name, request=request
        )
    )


@step
async def plan(project: ProjectName, name: InstanceName, serves: Serves, request: LaunchRequest) -> LaunchPlan:
    """What the launch does, recorded before it acts."""
    return await in_thread(lambda _stop: recorded(planning.plan_launch(library(), project, name, serves, request)))


@step
async def plan_switch(
    project: ProjectName, name: InstanceName, model: ModelRef | None, *, back: bool, forget: bool
) -> SwitchPlan:
    """What the switch changes, recorded before it acts."""
    return await in_thread(
        lambda _stop: recorded(switching.plan_switch(library(), project, name, model, back=back, forget=forget))
    )


@step
async def forget_past(project: ProjectName, name: InstanceName) -> None:
    """What it served before is held no more."""
    await in_thread(lambda _stop: switching.forget_past(library(), project, name))


@step
async def fill_replicas(project: ProjectName, serves: Serves) -> None:
    """The files of each version are on the node, complete, or where they are registered to lie."""

    def work(stop: StopToken) -> None:
        for version, _ in serves:
            caching.bring(library(), project, version, stop)

    await in_thread(work)


async def launch(
    project: ProjectName, name: InstanceName, serves: Serves, request: LaunchRequest, *, began: float, queued: float
) -> Instance:
    """The instance serves all of it, proven by a token of each; where the time went is recorded and shown."""
    await fill_replicas(project, serves)
    cached = time.monotonic()
    started = await start(project, name, serves, request)
    spawned = time.monotonic()
    probed = await wait_until_ready(project, started, request.key_block)
    stages = {
        "queue": queued,
        "replica": cached - began,
        "create": spawned - cached,
        "engine up": probed.engine_up,
        "model visible": probed.model_visible - probed.engine_up,
        "first token": probed.first_token - probed.model_visible,
    }
    ready = await mark_ready(project, started, stages)
    await reports.show_start(ready, f"http://{ready.bind}:{ready.port}", stages)
    return ready


async def switch(project: ProjectName, name: InstanceName, plan: SwitchPlan, *, began: float, queued: float) -> None:
    """The instance serves what the plan says; if it does not come up, it serves again what it did, and the reason is raised."""
    await fill_replicas(project, plan.after)
    await stop(project, name)
    try:
        await launch(project, name, plan.after, plan.request, began=began, queued=queued)
    except ModelshelfError:
        await launch(project, name, plan.before, plan.request_before, began=began, queued=queued)
        raise


@step
async def start(project: ProjectName, name: InstanceName, serves: Serves, request: LaunchRequest) -> Instance:
    """The instance is in the catalog with its template's revision, and then its engine is a running process of its own."""
    key = await _key(request.key_block)

    def work(_stop: StopToken) -> Instance:
        made = starting.record_start(library(), project, name, serves, request, who())
        return starting.start(library(), project, made, key)

    return await in_thread(work)


@step
async def wait_until_ready(project: ProjectName, instance: Instance, key_block: str) -> Probed:
    """It listed every model under its name and digest, and one token of each came back."""
    key = await _key(key_block)
    return await in_thread(lambda stop: prove.wait_until_ready(library(), project, instance, key, stop))


@step
async def mark_ready(project: ProjectName, instance: Instance, stages: dict[str, float]) -> Instance:
    ready = await in_thread(lambda _stop: prove.mark_ready(library(), project, instance, stages, who()))
    tell("instance.ready", f"{project}/{instance.name}")
    return ready


@step
async def stop(project: ProjectName, name: InstanceName) -> Instance:
    """It does not run; what it was started with is kept."""
    stopped = await in_thread(lambda _stop: running.stop_instance(library(), project, name, who()))
    tell("instance.stopped", f"{project}/{name}")
    return stopped


@step
async def delete(project: ProjectName, name: InstanceName) -> None:
    """It is gone, with its log and what it wrote."""
    await in_thread(lambda _stop: running.delete_instance(library(), project, name, who()))
    tell("instance.deleted", f"{project}/{name}")


async def _key(block: str) -> str:
    """The key from its block; empty where none is asked for."""
    if not block:
        return ""
    try:
        loaded: EngineKey = await EngineKey.aload(block)
    except ValueError as error:
        reason = "nobody stored it: `modelshelf login engine NAME` does"
        raise BadSetting(where=f"the engine key {block!r}", reason=reason) from error
    return loaded.open()
