"""Replicas, deletions, and looking after both."""

from __future__ import annotations

from modelshelf.catalog import journal
from modelshelf.library import caching, deleting, observing
from modelshelf.library.caching import CachePlan
from modelshelf.library.deleting import Deletion
from modelshelf.names import ModelRef, NodeName, ProjectName
from tasks.library import library, run_id, who
from tasks.retries import step
from tasks.threads import in_thread


@step
async def plan_cache(project: ProjectName, model: ModelRef, node: NodeName) -> CachePlan:
    def work(_stop: object) -> CachePlan:
        made = caching.plan_cache(library(), project, model, node)
        with library().catalog.writing() as connection:
            journal.record_plan(connection, run_id(), made.to_json())
        return made

    return await in_thread(work)


@step
async def plan_deletion(project: ProjectName, model: ModelRef) -> Deletion:
    """What would go, and that nothing holds it; recorded for the command to show."""

    def work(_stop: object) -> Deletion:
        made = deleting.plan_deletion(library(), project, model)
        with library().catalog.writing() as connection:
            journal.record_plan(connection, run_id(), made.to_json())
        return made

    return await in_thread(work)


@step
async def delete(project: ProjectName, model: ModelRef) -> Deletion:
    """The version is gone, and every byte that only it used."""
    return await in_thread(lambda _stop: deleting.delete_version(library(), project, model, who=who()))


@step
async def observe() -> list[dict[str, str]]:
    """What is there now, written beside what should be; nothing else is changed."""
    return await in_thread(lambda _stop: observing.observe(library()))
