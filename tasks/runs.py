"""Looking after runs themselves."""

from __future__ import annotations

import contextlib
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterDeploymentId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment

from modelshelf.cli import launcher, lost
from modelshelf.cli.state_file import Running
from modelshelf.settings import load_settings
from modelshelf.stop import StopToken
from tasks import logs
from tasks.library import in_run, run_id
from tasks.retries import step
from tasks.threads import in_thread

_LOOK = "reconcile"
"""The name of a look, of `flows.reconcile`."""

_NAME_LENGTH = 200
_AT_ONCE = 50
"""Every look deletes those before it, so there are few."""


@step
async def conclude_lost() -> list[str]:
    """End the runs whose process is gone, where server and worker are this machine's own; return that in words."""

    def work(_stop: StopToken) -> list[str]:
        settings = load_settings()
        running = Running.read(settings)
        if not in_run() or running is None or running.server is None:
            return []
        api = launcher.find(settings)
        return [run["name"] for run in lost.conclude(api)] if api is not None else []

    ended = await in_thread(work)
    for name in ended:
        logs.say(f"The run {name} was interrupted: its process is gone.")
    return [f"end {name}" for name in ended]


@step
async def thin_out(acted: list[str]) -> None:
    """Delete the earlier looks that only looked; name this one for what it did, if it did anything, so that it stays.

    Without this, the list of runs would hold 288 looks a day.
    """
    if not in_run() or not deployment.id:
        return
    async with get_client() as client:
        if acted:
            await client.update_flow_run(UUID(run_id()), name=f"{_LOOK}: {', '.join(acted)}"[:_NAME_LENGTH])
        looks = FlowRunFilter(
            deployment_id=FlowRunFilterDeploymentId(any_=[UUID(deployment.id)]),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED, StateType.CANCELLED])),
        )
        for earlier in await client.read_flow_runs(flow_run_filter=looks, sort=FlowRunSort.END_TIME_DESC, limit=_AT_ONCE):
            if not earlier.name.startswith(f"{_LOOK}:"):
                with contextlib.suppress(ObjectNotFound):  # another look was quicker
                    await client.delete_flow_run(earlier.id)
