"""The steps of a launch, and of its end."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from blocks.engine_key import EngineKey
from modelshelf.catalog.ids import VersionId
from modelshelf.catalog.instances import Instance
from modelshelf.errors import BadSetting, ModelshelfError, SwitchFailed
from modelshelf.library import caching, recovery, running, switching
from modelshelf.library.launching import plan as planning
from modelshelf.library.launching import prove as proving
from modelshelf.library.launching import request as requesting
from modelshelf.library.launching import start as starting
from modelshelf.library.launching.plan import LaunchPlan
from modelshelf.library.launching.prove import Probed, Stage
from modelshelf.library.launching.request import LaunchRequest, LaunchSpec, Serves
from modelshelf.library.launching.start import Started
from modelshelf.library.switching import SwitchPlan
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName, TemplateName
from modelshelf.states import InstanceState
from modelshelf.stop import Stopped, StopToken
from tasks import logs, reports
from tasks.events import tell
from tasks.library import library, recorded, who
from tasks.retries import step
from tasks.threads import in_thread


@step
async def resolve(
    project: ProjectName,
    model: ModelRef | None,
    template: TemplateName | None,
    served: ServedName | None,
    name: InstanceName | None,
    request: LaunchRequest,
) -> LaunchSpec:
    """Return what the launch means: which versions, under which names, with which settings."""
    return await in_thread(
        lambda _stop: requesting.resolve(
            library(), project, model=model, template=template, served=served, name=name, request=request
        )
    )


@step
async def again(project: ProjectName, name: InstanceName) -> LaunchSpec:
    """Return what the instance was started with."""
    return await in_thread(lambda _stop: requesting.again(library(), project, name))


@step
async def lost(project: ProjectName, name: InstanceName) -> LaunchSpec | None:
    """Return what the instance was started with, if it should run and does not; None if it need not be started."""
    return await in_thread(lambda _stop: recovery.spec_of_lost(library(), project, name))


@step
async def plan(project: ProjectName, spec: LaunchSpec) -> LaunchPlan:
    """Return what the launch does, recorded before it acts. Raises what keeps it from being started."""
    await _key(spec.settings.key_block)
    return await in_thread(lambda _stop: recorded(planning.plan_launch(library(), project, spec)))


@step
async def require_startable(project: ProjectName, spec: LaunchSpec) -> None:
    """Raise what would keep the instance from being started again, as far as it can be known while it runs."""
    await _key(spec.settings.key_block)
    await in_thread(lambda _stop: planning.require_restartable(library(), project, spec))


@step
async def plan_switch(
    project: ProjectName, name: InstanceName, model: ModelRef | None, *, back: bool, forget: bool, revision: int = 0
) -> SwitchPlan:
    """Return what the switch changes, recorded before it acts."""

    def work(_stop: StopToken) -> SwitchPlan:
        return recorded(switching.plan_switch(library(), project, name, model, back=back, forget=forget, revision=revision))

    planned = await in_thread(work)
    await _key(planned.after.settings.key_block)
    return planned


@step
async def forget_past(project: ProjectName, name: InstanceName) -> None:
    """Let go of what the instance served before."""
    await in_thread(lambda _stop: switching.forget_past(library(), project, name))


@step
async def fill_replicas(project: ProjectName, serves: Serves) -> None:
    """Lay out the files of each version on the node; check those that are registered in place."""

    def work(stop: StopToken) -> None:
        for version, _ in serves:
            caching.bring(library(), project, version, stop)

    await in_thread(work)


@step
async def require_command(project: ProjectName, spec: LaunchSpec) -> None:
    """Raise what keeps the engine from being given these files. They are on the node."""
    await in_thread(lambda _stop: starting.require_command(library(), project, spec))


@step
async def record(project: ProjectName, spec: LaunchSpec, also: Collection[VersionId]) -> Instance:
    """Record the instance with its template's revision; from now on it holds what it serves, and the versions in `also`."""
    return await in_thread(lambda _stop: starting.record(library(), project, spec, who(), also=also))


@step
async def start(project: ProjectName, instance: Instance, spec: LaunchSpec) -> Started:
    """Start the engine as a process of its own."""
    key = await _key(spec.settings.key_block)
    return await in_thread(lambda _stop: starting.start(library(), project, instance, spec.serves, spec.settings, key))


@step
async def prove(started: Started) -> Probed:
    """Wait until each model is listed and has answered. What the engine does wrong is never tried again."""
    log, name = logs.logger(), started.instance.name

    def waiting(seconds: float) -> None:
        log.info("Waiting for %s: its engine has logged nothing for %.0f s. See `modelshelf logs %s`.", name, seconds, name)

    return await in_thread(lambda stop: proving.wait_until_ready(library(), started, stop, waiting))


@step
async def mark_ready(project: ProjectName, started: Started, stages: dict[str, float]) -> Instance:
    ready = await in_thread(lambda _stop: proving.mark_ready(library(), project, started, stages, who()))
    tell("instance.ready", f"{project}/{ready.name}")
    return ready


@asynccontextmanager
async def concluded(instance: Instance) -> AsyncIterator[None]:
    """End the engine of a launch that ends early, and record why: also of one that is cancelled."""
    state, reason = InstanceState.STOPPED, running.CANCELLED
    ready = False
    try:
        yield
        ready = True
    finally:
        if not ready:
            error = sys.exception()
            if isinstance(error, Exception) and not isinstance(error, Stopped):
                state, reason = InstanceState.FAILED, str(error) if isinstance(error, ModelshelfError) else repr(error)
            await in_thread(lambda _stop: running.give_up(library(), instance, state, reason, who()))


async def launch(
    project: ProjectName, spec: LaunchSpec, *, began: float, queued: float, also: Collection[VersionId] = ()
) -> Instance:
    """Let the instance serve all of it, proven by an answer of each; record and show where the time went.

    The instance holds its versions before their files are laid out: nobody evicts them in between.
    """
    try:
        instance = await record(project, spec, also)
    except asyncio.CancelledError:  # what it has recorded, it has not returned
        await in_thread(lambda _stop: running.give_up_recorded(library(), project, spec.instance, who()))
        raise
    if instance.state == InstanceState.READY:
        return instance
    async with concluded(instance):
        await fill_replicas(project, spec.serves)
        cached = time.monotonic()
        started = await start(project, instance, spec)
        spawned = time.monotonic()
        probed = await prove(started)
        stages: dict[str, float] = {
            Stage.QUEUE: queued,
            Stage.REPLICA: cached - began,
            Stage.CREATE: spawned - cached,
            Stage.ENGINE_UP: probed.engine_up,
            Stage.MODEL_VISIBLE: probed.model_visible - probed.engine_up,
            Stage.FIRST_TOKEN: probed.first_token - probed.model_visible,
        }
        ready = await mark_ready(project, started, stages)
    await reports.show_start(ready, ready.url, stages)
    return ready


async def restart(project: ProjectName, name: InstanceName, *, began: float, queued: float) -> Instance:
    """Stop the instance and start it again. What would keep it from starting is found before it is stopped."""
    spec = await again(project, name)
    await require_startable(project, spec)
    await fill_replicas(project, spec.serves)
    await require_command(project, spec)
    await end(project, name)
    return await launch(project, spec, began=began, queued=queued)


async def recover(project: ProjectName, name: InstanceName, *, began: float, queued: float) -> bool:
    """Start the instance again if it should run and does not; return whether it was started. The caller holds its lease."""
    spec = await lost(project, name)
    if spec is None:
        return False
    former = await in_thread(lambda _stop: switching.former_of_interrupted(library(), project, spec))
    await _launch_or_return(project, spec, former or spec, began=began, queued=queued)
    return True


async def switch(project: ProjectName, plan: SwitchPlan, *, began: float, queued: float) -> None:
    """Let the instance serve what the plan names. If it does not come up, it serves again what it did: raises SwitchFailed."""
    await _lay_out_beside(project, plan)
    await end(project, plan.after.instance)
    await _launch_or_return(project, plan.after, plan.before, began=began, queued=queued)


async def _launch_or_return(
    project: ProjectName, new: LaunchSpec, former: LaunchSpec, *, began: float, queued: float
) -> None:  # fmt: skip
    """Launch the instance as the new spec states, or if it does not come up so, as the former one: raises SwitchFailed."""
    name, before = new.instance, {target.id for target, _ in former.serves}
    try:
        await launch(project, new, began=began, queued=queued, also=before)
    except ModelshelfError as error:
        if before == {target.id for target, _ in new.serves}:  # there is no other version to return to
            raise
        after = ", ".join(str(target.ref) for target, _ in new.serves)
        try:
            await launch(project, former, began=began, queued=queued, also=before)
        except ModelshelfError as second:
            now = "Starting the former version again failed too, and the instance does not run."
            both = f"{error}\nThe former version: {second}"
            raise SwitchFailed(instance=name, after=after, reason=both, now=now) from error
        raise SwitchFailed(
            instance=name, after=after, reason=error, now="The instance serves its former version again."
        ) from error


async def _lay_out_beside(project: ProjectName, plan: SwitchPlan) -> None:
    """Lay out what will be served while the instance still serves; if that fails, it holds only what it serves."""
    await in_thread(lambda _stop: switching.hold_both(library(), plan))
    try:
        await fill_replicas(project, plan.after.serves)
        await require_command(project, plan.after)
    except ModelshelfError:
        await in_thread(lambda _stop: switching.hold_before(library(), plan))
        raise


@step
async def end(project: ProjectName, name: InstanceName) -> None:
    """End the instance's engine, for a start that follows."""
    await in_thread(lambda _stop: running.end_instance(library(), project, name, who()))


@step
async def stop(project: ProjectName, name: InstanceName) -> Instance:
    """Stop the instance; what it was started with is kept."""
    stopped = await in_thread(lambda _stop: running.stop_instance(library(), project, name, who()))
    tell("instance.stopped", f"{project}/{name}")
    return stopped


@step
async def delete(project: ProjectName, name: InstanceName) -> None:
    """Delete the instance, with its log and what it wrote."""
    await in_thread(lambda _stop: running.delete_instance(library(), project, name, who()))
    tell("instance.deleted", f"{project}/{name}")


async def _key(block: str) -> str:
    """Return the key from its block; empty where none is asked for. Raises BadSetting if nobody stored it."""
    if not block:
        return ""
    try:
        loaded: EngineKey = await EngineKey.aload(block)
    except ValueError as error:
        reason = "no such key is stored; store one with `modelshelf login engine NAME`"
        raise BadSetting(where=f"the engine key {block!r}", reason=reason) from error
    return loaded.open()
