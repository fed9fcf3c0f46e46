"""Automations of a Prefect server that several machines share."""

from __future__ import annotations

from datetime import timedelta

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events import Automation, AutomationCore, EventTrigger, Posture, ResourceSpecification
from prefect.events.actions import ChangeFlowRunState

from modelshelf.cli.deployments import TAG

_SILENT_SECONDS = 540
"""A run sends a heartbeat every 180 s (Prefect's default): three of them are missing."""

_FINAL = ("Completed", "Failed", "Refused", "Unavailable", "Cancelled", "Crashed")
"""The names of the states in which a run of ours has ended; each is an event of that name."""


def lost_runs() -> AutomationCore:
    """Return what ends the runs of a machine that is gone: nobody else notices them."""
    heartbeat = "prefect.flow-run.heartbeat"
    return AutomationCore(
        name=f"{TAG}: end runs without heartbeats",
        description="A run of modelshelf that has sent no heartbeat for nine minutes ends as Crashed: its machine is gone.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            threshold=1,
            within=timedelta(seconds=_SILENT_SECONDS),
            match=ResourceSpecification({"prefect.resource.id": "prefect.flow-run.*"}),
            match_related=ResourceSpecification({"prefect.resource.id": f"prefect.tag.{TAG}"}),
            for_each={"prefect.resource.id"},
            after={heartbeat},
            expect={heartbeat, *(f"prefect.flow-run.{name}" for name in _FINAL)},
        ),
        actions=[
            ChangeFlowRunState(
                name=None,
                state=StateType.CRASHED,
                force=False,
                message="The run has sent no heartbeat for nine minutes: its machine is gone. Finished steps are kept:"
                " `modelshelf retry` resumes from there.",
            )
        ],
    )


async def install(client: PrefectClient) -> None:
    """Let the server have each automation once. One that a person switched off stays off."""
    wanted = lost_runs()
    there = await client.read_automations_by_name(wanted.name)
    if not there:
        await client.create_automation(wanted)
    for one in there:
        if _essence(one) != _essence(wanted):
            await client.update_automation(one.id, wanted.model_copy(update={"enabled": one.enabled}))


def _essence(one: AutomationCore | Automation) -> tuple[object, ...]:
    return one.description, one.trigger.model_dump(exclude={"id"}), [action.model_dump() for action in one.actions]
