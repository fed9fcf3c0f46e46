"""Replicas, deletions, and looking after both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modelshelf.catalog.versions import Version
from modelshelf.errors import BadSetting
from modelshelf.library import building, caching, categories, deleting, metrics, naming, observing
from modelshelf.library.building import BuildPlan
from modelshelf.library.caching import CachePlan
from modelshelf.library.deleting import Deletion
from modelshelf.library.naming import Change
from modelshelf.names import ModelRef, NodeName, ProjectName, Tag
from modelshelf.stop import StopToken
from modelshelf.words import said_bytes
from tasks import logs
from tasks.events import tell
from tasks.library import library, recorded, shelf, who
from tasks.retries import step
from tasks.threads import in_thread


@dataclass(frozen=True, slots=True)
class Changed:
    """What a run changed, for the command to show."""

    ref: ModelRef
    change: Change
    alias: Tag | None
    already: bool = False
    """It was so before: nothing was changed."""


@step
async def plan_cache(project: ProjectName, model: ModelRef, node: NodeName | None) -> CachePlan:
    """Return what caching does, recorded before it acts. No node means this machine's."""

    def work(_stop: StopToken) -> CachePlan:
        there = shelf().library(node) if node is not None else library()
        return recorded(caching.plan_cache(there, project, model))

    return await in_thread(work)


@step
async def fill_replica(project: ProjectName, model: ModelRef, node: NodeName) -> Path:
    """The version's files are on the node, complete. Raises NoSuchNode, or OtherNode if this is not that machine."""

    def work(stop: StopToken) -> Path:
        there = shelf().library(node)
        return caching.fill(there, project, caching.resolve_ready(there, project, model), stop)

    folder = await in_thread(work)
    logs.say(f"{model} is complete on this node: {folder}")
    return folder


@step
async def plan_deletion(project: ProjectName, model: ModelRef) -> Deletion:
    """What would go, and that nothing holds it; recorded for the command to show."""
    return await in_thread(lambda _stop: recorded(deleting.plan_deletion(library(), project, model)))


@step
async def delete(project: ProjectName, model: ModelRef) -> Deletion:
    """The version is gone, and every byte that only it used."""
    deleted = await in_thread(lambda _stop: deleting.delete_version(library(), project, model, who=who()))
    logs.say(f"Deleted {deleted.ref}: {said_bytes(deleted.frees)} freed, {said_bytes(deleted.keeps)} kept for other versions.")
    tell("version.deleted", f"{project}/{deleted.ref}")
    return deleted


@step
async def change(project: ProjectName, ref: ModelRef, what: str, alias: Tag | None, category: str = "") -> Changed:
    """The version is called or marked so. Raises BadSetting if there is no such change, or an alias is missing or too much."""
    try:
        wanted = Change(what)
    except ValueError:
        raise BadSetting(where=f"the change {what!r}", reason=f"known changes: {', '.join(Change)}") from None
    if (alias is not None) != (wanted in (Change.PROMOTE, Change.ROLL_BACK, Change.UNALIAS)):
        raise BadSetting(where=f"the change {what!r}", reason="an alias belongs to promote, roll-back and unalias alone")
    tag = alias or Tag("none")
    changes: dict[Change, Callable[[], Version]] = {
        Change.PROMOTE: lambda: naming.promote(library(), project, ref, tag, who=who()),
        Change.ROLL_BACK: lambda: naming.roll_back(library(), project, ref, tag, who=who()),
        Change.UNALIAS: lambda: naming.let_go(library(), project, ref.model, tag, who=who()),
        Change.DISABLE: lambda: naming.mark(library(), project, ref, who=who(), disabled=True),
        Change.ENABLE: lambda: naming.mark(library(), project, ref, who=who(), disabled=False),
        Change.AUTO_CACHE: lambda: naming.mark(library(), project, ref, who=who(), auto_cache=True),
        Change.NO_AUTO_CACHE: lambda: naming.mark(library(), project, ref, who=who(), auto_cache=False),
        Change.PIN: lambda: naming.pin(library(), project, ref, who=who(), pinned=True),
        Change.UNPIN: lambda: naming.pin(library(), project, ref, who=who(), pinned=False),
    }
    if wanted is Change.CATEGORY:
        model = await in_thread(lambda _stop: categories.categorise(library(), project, ref.model, category, who=who()))
        logs.say(f"The category of {model} is now {category}.")
        tell("model.category", f"{project}/{model}")
        return Changed(model, wanted, alias)
    already = await in_thread(lambda _stop: naming.is_already(library(), project, ref, wanted))
    changed = await in_thread(lambda _stop: changes[wanted]())
    logs.say(f"{what}: {changed.ref}{f' as {alias}' if alias else ''}.")
    tell(f"version.{what}", f"{project}/{changed.ref}")
    return Changed(changed.ref, wanted, alias, already)


@step
async def record_change(changed: Changed) -> None:
    """What was changed is kept with the run, for the command to show."""
    await in_thread(lambda _stop: recorded(changed))


@step
async def plan_build(project: ProjectName, model: ModelRef, to: Path) -> BuildPlan:
    return await in_thread(lambda _stop: recorded(building.plan_build(library(), project, model, to)))


@step
async def build(project: ProjectName, plan: BuildPlan) -> None:
    """The layout is there, whole."""
    await in_thread(lambda stop: building.build(library(), project, plan, stop))
    logs.say(f"Wrote the image {plan.image}.")


@step
async def observe() -> list[dict[str, str]]:
    """What is there now, written beside what should be and into the metrics; nothing else is changed."""

    def work(_stop: StopToken) -> list[dict[str, str]]:
        seen = observing.observe(library())
        metrics.write_metrics(library())
        return seen

    return await in_thread(work)
