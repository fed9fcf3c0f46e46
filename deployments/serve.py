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
    switched_off = await _switched_off(f"{flow.name}/{stated['name']}")
    schedules = [
        DeploymentScheduleCreate(schedule=_schedule(one), active=one.get("active", True) and not switched_off)
        for one in stated.get("schedules", [])
    ]
    return RunnerDeployment.from_entrypoint(
        stated["entrypoint"],
        name=stated["name"],
        schedules=schedules,
        description=stated["description"],
        tags=stated["tags"],
        triggers=[
            DeploymentEventTrigger(name=f"{flow.name} on {' or '.join(one['expect'])}", expect=set(one["expect"]))
            for one in stated.get("triggers", [])
        ],
    )


def _schedule(stated: dict[str, Any]) -> CronSchedule | IntervalSchedule:
    if "cron" in stated:
        return CronSchedule(cron=stated["cron"], timezone=stated.get("timezone"))
    return IntervalSchedule(interval=timedelta(seconds=stated["interval"]))


async def _switched_off(name: str) -> bool:
    """Someone switched the deployment's schedules off: a restart does not switch them on again."""
    async with get_client() as client:
        try:
            known = await client.read_deployment_by_name(name)
        except ObjectNotFound:
            return False
    return bool(known.schedules) and not any(schedule.active for schedule in known.schedules)


if __name__ == "__main__":
    asyncio.run(register_blocks() if "blocks" in sys.argv[1:] else serve(once="once" in sys.argv[1:]))
