"""The steps of a launch, and of its end."""

from __future__ import annotations

from pathlib import Path

from blocks.engine_key import EngineKey
from modelshelf.catalog import journal
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.versions import Version
from modelshelf.errors import BadSetting
from modelshelf.library import caching, launching
from modelshelf.library.launching import LaunchPlan, LaunchRequest, Probed
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName
from tasks.library import library, run_id, who
from tasks.retries import step
from tasks.threads import in_thread


@step
async def resolve(project: ProjectName, model: ModelRef) -> Version:
    """The version that the name means now; it is ready, or the refusal says what it lacks."""
    return await in_thread(lambda _stop: caching.resolve_ready(library(), project, model))


@step
async def as_kept(
    project: ProjectName, name: InstanceName, version: Version, served_name: str, request: LaunchRequest
) -> tuple[ServedName, LaunchRequest]:
    """What was asked for; where nothing was, what the instance was started with before."""
    served = ServedName(served_name) if served_name else None
    return await in_thread(lambda _stop: launching.as_kept(library(), project, name, version, served, request))


@step
async def plan(
    project: ProjectName, name: InstanceName, version: Version, served: ServedName, request: LaunchRequest
) -> LaunchPlan:
    """What the launch does, recorded before it acts."""

    def work(_stop: object) -> LaunchPlan:
        made = launching.plan_launch(library(), project, name, version, served, request)
        with library().catalog.writing() as connection:
            journal.record_plan(connection, run_id(), made.to_json())
        return made

    return await in_thread(work)


@step
async def fill_replica(project: ProjectName, version: Version) -> Path:
    """The version's files are on the node, complete."""
    return await in_thread(lambda stop: caching.fill(library(), project, version, stop))


@step
async def record(
    project: ProjectName, name: InstanceName, version: Version, served: ServedName, request: LaunchRequest
) -> Instance:
    """The instance and its template's revision are in the catalog, before anything is started."""
    return await in_thread(lambda _stop: launching.record_start(library(), project, name, version, served, request))


@step
async def start(project: ProjectName, instance: Instance, folder: Path, key_block: str) -> Instance:
    """Its engine is a running process of its own."""
    key = await _key(key_block)
    return await in_thread(lambda _stop: launching.start(library(), project, instance, folder, key))


@step
async def wait_until_ready(project: ProjectName, instance: Instance, folder: Path, key_block: str) -> Probed:
    """It listed the model under its served name, and one token came back."""
    key = await _key(key_block)
    return await in_thread(lambda stop: launching.wait_until_ready(library(), project, instance, folder, key, stop))


@step
async def mark_ready(project: ProjectName, instance: Instance, stages: dict[str, float]) -> Instance:
    return await in_thread(lambda _stop: launching.mark_ready(library(), project, instance, stages, who()))


@step
async def stop(project: ProjectName, name: InstanceName) -> Instance:
    """It does not run; what it was started with is kept."""
    return await in_thread(lambda _stop: launching.stop_instance(library(), project, name, who()))


@step
async def delete(project: ProjectName, name: InstanceName) -> None:
    """It is gone, with its log and what it wrote."""
    await in_thread(lambda _stop: launching.delete_instance(library(), project, name, who()))


async def _key(block: str) -> str:
    """The key from its block; empty where none is asked for."""
    if not block:
        return ""
    try:
        loaded = await EngineKey.aload(block)
    except ValueError as error:
        reason = "nobody stored it: `modelshelf login engine NAME` does"
        raise BadSetting(where=f"the engine key {block!r}", reason=reason) from error
    return loaded.open()
