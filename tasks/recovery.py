"""Bringing back what is lost: what is due is claimed here, and each try is a run of its own."""

from __future__ import annotations

from prefect.deployments import arun_deployment

from modelshelf.cli.deployments import Deployment
from modelshelf.library import recovery
from modelshelf.library.recovery import Lost
from modelshelf.names import ModelRef, ProjectName
from modelshelf.stop import StopToken
from tasks import logs
from tasks.library import in_run, library
from tasks.retries import step
from tasks.threads import in_thread


@step
async def claim_lost() -> Lost:
    """Return what should be on this node, is not, and is due. What should not be on it any more is removed first."""

    def work(stop: StopToken) -> Lost:
        recovery.tidy(library(), stop)
        return recovery.claim_lost(library())

    return await in_thread(work)


@step
async def dispatch(lost: Lost) -> list[str]:
    """Start a run for each, whose end that run records; return what is brought back, in words."""
    for project, name in lost.instances:
        logs.say(f"The instance {name} should run and does not: it is started again.")
        await _run(Deployment.RECOVER_INSTANCE, {"instance": str(name), "project": str(project)})
    for project, ref in lost.replicas:
        logs.say(f"The replica of {ref} is lost: it is filled again.")
        await _run(Deployment.REFILL_REPLICA, {"model": str(ref), "project": str(project)})
    return [f"recover {name}" for _, name in lost.instances] + [f"refill {ref}" for _, ref in lost.replicas]


@step
async def refill(project: ProjectName, model: ModelRef) -> bool:
    """Fill the replica again if it is still wanted; return whether it is complete now."""
    return await in_thread(lambda stop: recovery.refill(library(), project, model, stop))


async def _run(deployment: Deployment, parameters: dict[str, str]) -> None:
    if in_run():
        await arun_deployment(deployment, parameters=parameters, timeout=0, as_subflow=False)
