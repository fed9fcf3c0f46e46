"""The steps that keep the library clean, true and warm."""

from __future__ import annotations

from dataclasses import asdict

from modelshelf.catalog import journal
from modelshelf.catalog.stale import Policy
from modelshelf.json_form import as_json
from modelshelf.library import auditing, caching, cleaning
from modelshelf.library.caching import Warmed
from modelshelf.library.cleaning import CleanPlan, CleanReport
from modelshelf.library.findings import Finding, Rehash
from modelshelf.library.importing import Meter
from modelshelf.names import ModelRef, ProjectName
from modelshelf.stop import StopToken
from modelshelf.words import counted, said_bytes
from tasks import logs
from tasks.library import library, recorded, run_id, who
from tasks.progress import shown
from tasks.retries import step
from tasks.threads import in_thread


@step
async def plan_clean(project: ProjectName, policy: Policy) -> CleanPlan:
    """What goes, recorded before anything does."""
    plan = await in_thread(lambda _stop: recorded(cleaning.plan_clean(library(), project, policy)))
    logs.say(f"{counted(len(plan.versions), 'version')} to remove, which would free {said_bytes(plan.frees)}.")
    return plan


@step
async def clean(project: ProjectName, plan: CleanPlan) -> CleanReport:
    """The plan's versions are gone, but for those that came into use."""
    report = await in_thread(lambda stop: cleaning.clean(library(), project, plan, stop, who=who()))
    for ref in report.removed:
        logs.say(f"Removed {ref}.")
    for ref, why in report.left:
        logs.say(f"Left {ref}: {why}.")
    logs.say(f"{said_bytes(report.freed)} were freed.")
    await _add_to_plan(as_json(report))
    return report


@step
async def audit(*, rehash: Rehash, repair: bool) -> list[Finding]:
    """Every difference, mended if that was asked for."""

    def work(stop: StopToken, meter: Meter) -> list[Finding]:
        return auditing.audit(library(), stop, rehash=rehash, repair=repair, who=who(), on_bytes=meter.add)

    if rehash != "none":
        total = await in_thread(lambda _stop: auditing.bytes_to_hash(library(), rehash))
        findings = await shown("re-hashing", "the store", total, work)
    else:
        findings = await in_thread(lambda stop: work(stop, Meter(0)))
    for one in findings:
        logs.say(f"{one.kind}: {one.what}: {one.found}{f' ({one.outcome})' if one.outcome else ''}")
    logs.say(f"{counted(len(findings), 'difference')}.")
    await _add_to_plan({"findings": as_json(findings), "repaired": repair})
    return findings


@step
async def warm_up(*, seconds: float | None) -> list[Warmed]:
    """What is marked is there, or it is said why not."""
    warmed = await in_thread(lambda stop: caching.warm_up(library(), stop, seconds=seconds))
    for one in warmed:
        logs.say(f"{one.ref}: {one.outcome}.")
    await _add_to_plan({"versions": [asdict(one) for one in warmed]})
    return warmed


@step
async def evict(project: ProjectName, model: ModelRef) -> int:
    """The replica is off this node; its bytes."""
    size = await in_thread(lambda _stop: caching.evict(library(), project, model, who=who()))
    logs.say(f"Removed {model} from this node: {said_bytes(size)}.")
    await _add_to_plan({"ref": str(model), "size": size})
    return size


async def _add_to_plan(outcome: dict[str, object]) -> None:
    """What came of the run, kept with its plan for the command to show."""

    def work(_stop: object) -> None:
        with library().catalog.writing() as connection:
            plan = journal.get_plan(connection, run_id()) or {}
            journal.record_plan(connection, run_id(), {**plan, **outcome})

    await in_thread(work)
