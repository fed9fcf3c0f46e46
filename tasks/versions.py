"""Replicas, deletions, and looking after both."""

from __future__ import annotations

from pathlib import Path

from modelshelf.library import caching, deleting, observing
from modelshelf.library.caching import CachePlan
from modelshelf.library.deleting import Deletion
from modelshelf.names import ModelRef, NodeName, ProjectName
from modelshelf.stop import StopToken
from tasks.library import library, recorded, who
from tasks.retries import step
from tasks.threads import in_thread


@step
async def plan_cache(project: ProjectName, model: ModelRef, node: NodeName) -> CachePlan:
    return await in_thread(lambda _stop: recorded(caching.plan_cache(library(), project, model, node)))


@step
async def fill_replica(project: ProjectName, model: ModelRef) -> Path:
    """The version's files are on the node, complete."""

    def work(stop: StopToken) -> Path:
        return caching.fill(library(), project, caching.resolve_ready(library(), project, model), stop)

    return await in_thread(work)


@step
async def plan_deletion(project: ProjectName, model: ModelRef) -> Deletion:
    """What would go, and that nothing holds it; recorded for the command to show."""
    return await in_thread(lambda _stop: recorded(deleting.plan_deletion(library(), project, model)))


@step
async def delete(project: ProjectName, model: ModelRef) -> Deletion:
    """The version is gone, and every byte that only it used."""
    return await in_thread(lambda _stop: deleting.delete_version(library(), project, model, who=who()))


@step
async def observe() -> list[dict[str, str]]:
    """What is there now, written beside what should be; nothing else is changed."""
    return await in_thread(lambda _stop: observing.observe(library()))
