"""Serve every deployment of `prefect.yaml` on this machine: `python -m deployments.serve`, in the project's folder.

`python -m deployments.serve once` only writes them to the server, for a runner that is up; with `blocks` only the kinds of
blocks are written, and workers run what `prefect deploy` wrote.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.deployments.runner import RunnerDeployment
from prefect.events import DeploymentEventTrigger
from prefect.exceptions import ObjectNotFound
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.runner import Runner

from blocks.engine_key import EngineKey
from blocks.hugging_face_hub import HuggingFaceHub
from blocks.ollama_registry import OllamaRegistry

_RUNS_AT_ONCE = 8
_LOOK_SECONDS = 0.5
"""How often the runner asks for due runs: a person waits for it, and the server is on this machine."""
_FILE = Path(__file__).parent.parent / "prefect.yaml"


def read_deployments() -> list[dict[str, Any]]:
    """The deployments as `prefect.yaml` states them."""
    return list(yaml.safe_load(_FILE.read_text())["deployments"])


async def register_blocks() -> None:
    """The server knows each kind of block, so that `modelshelf login` can store one."""
    for block in (EngineKey, HuggingFaceHub, OllamaRegistry):
        await block.aregister_type_and_schema()


async def serve(*, once: bool) -> None:
    """Every deployment is known to the server and, unless `once`, served by this process until it ends."""
    await register_blocks()
    runner = Runner(name="modelshelf", limit=_RUNS_AT_ONCE, query_seconds=_LOOK_SECONDS, pause_on_shutdown=False)
    for stated in read_deployments():
        await runner.aadd_deployment(await _deployment(stated))
    if not once:
        await runner.start()


async def _deployment(stated: dict[str, Any]) -> RunnerDeployment:
    flow: Flow[..., Any] = load_flow_from_entrypoint(stated["entrypoint"], use_placeholder_flow=False)
    known = await _known(f"{flow.name}/{stated['name']}")
    as_stated = [_schedule(one) for one in stated.get("schedules", [])]
    return RunnerDeployment.from_entrypoint(
        stated["entrypoint"],
        name=stated["name"],
        schedules=as_stated if known is None else [_kept(one, as_stated) for one in known.schedules],
        parameters={**stated.get("parameters", {}), **(known.parameters if known is not None else {})},
        paused=known.paused if known is not None else False,
        description=stated["description"],
        tags=stated["tags"],
        triggers=[
            DeploymentEventTrigger(name=f"{flow.name} on {' or '.join(one['expect'])}", expect=set(one["expect"]))
            for one in stated.get("triggers", [])
        ],
    )


def _schedule(stated: dict[str, Any]) -> DeploymentScheduleCreate:
    """Return the schedule as `prefect.yaml` states it."""
    when = (
        CronSchedule(cron=stated["cron"], timezone=stated.get("timezone"))
        if "cron" in stated
        else IntervalSchedule(interval=timedelta(seconds=stated["interval"]))
    )
    return DeploymentScheduleCreate(
        schedule=when, active=stated.get("active", True), parameters=stated.get("parameters", {}), slug=stated.get("slug")
    )


def _kept(known: DeploymentSchedule, stated: list[DeploymentScheduleCreate]) -> DeploymentScheduleCreate:
    """Return a schedule as it is on the server: once there, when it runs, whether, and with what is a person's to say.

    One without parameters takes those of the stated schedule of the same times: it is from before these had any.
    """
    twins = [one.parameters for one in stated if _times(one.schedule) == _times(known.schedule)]
    return DeploymentScheduleCreate(
        schedule=known.schedule,
        active=known.active,
        parameters=known.parameters or next(iter(twins), {}),
        slug=known.slug,
        max_scheduled_runs=known.max_scheduled_runs,
    )


def _times(schedule: Any) -> object:
    return getattr(schedule, "cron", None) or getattr(schedule, "interval", None)


async def _known(name: str) -> DeploymentResponse | None:
    """Return the deployment as the server has it; None if it has none of that name."""
    async with get_client() as client:
        try:
            return await client.read_deployment_by_name(name)
        except ObjectNotFound:
            return None


if __name__ == "__main__":
    asyncio.run(register_blocks() if "blocks" in sys.argv[1:] else serve(once="once" in sys.argv[1:]))
