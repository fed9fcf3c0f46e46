"""Pictures of what happened, as Prefect artifacts. They are views: every fact is in the catalog."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from modelshelf.catalog import versions
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.versions import Version
from modelshelf.library.auditing import Finding
from modelshelf.library.caching import Warmed
from modelshelf.library.cleaning import CleanPlan, CleanReport
from modelshelf.library.importing import ImportPlan
from modelshelf.names import ProjectName
from modelshelf.words import said_bytes
from tasks.library import in_run, library
from tasks.retries import step


def _key(kind: str, subject: object) -> str:
    """Prefect's keys are lower-case letters, digits and dashes; the hash keeps two subjects apart."""
    return f"{kind}-{hashlib.sha256(str(subject).encode()).hexdigest()[:8]}"


async def _table(rows: list[dict[str, Any]], *, key: str, description: str) -> None:
    if in_run():
        await acreate_table_artifact(rows, key=key, description=description)


async def _page(markdown: str, *, key: str, description: str) -> None:
    if in_run():
        await acreate_markdown_artifact(markdown, key=key, description=description)


async def begin_progress(stage: str, subject: str, total: int) -> UUID | None:
    """Return the artifact to update; None without a flow run."""
    if not in_run():
        return None
    description = f"{stage.capitalize()} {subject}: {said_bytes(total)}."
    key = _key(stage, subject)
    return await acreate_progress_artifact(progress=0.0, key=key, description=description)


async def update_progress(artifact: UUID | None, done: int, total: int, *, seconds: float) -> None:
    if artifact is None:
        return
    rate = said_bytes(int(done / seconds)) if seconds > 0 else "?"
    description = f"{said_bytes(done)} of {said_bytes(total)}, {rate}/s"
    await aupdate_progress_artifact(artifact, progress=100.0 * done / max(total, 1), description=description)


@step
async def show_plan(plan: ImportPlan) -> None:
    rows = [
        {"file": str(file.path), "size": said_bytes(file.size), "to do": "fetch" if file.fetch else "have it"}
        for file in plan.files
    ]
    summary = f"{plan.model}:{plan.version} from {plan.source}: {said_bytes(plan.to_fetch)} of {said_bytes(plan.total)} to fetch"
    await _table(rows, key=_key("plan", f"{plan.model}:{plan.version}"), description=summary)


@step
async def show_import(project: ProjectName, version: Version, plan: ImportPlan) -> None:
    """What was brought in, and the catalog as it is now."""
    with library().catalog.reading() as connection:
        twins = versions.same_content(connection, project, version)
        newest = versions.page(connection, project, limit=200)
    fetched = f"{said_bytes(plan.to_fetch)} of {said_bytes(plan.total)} were fetched; the rest the store held."
    same = "".join(f"\n\nThe same content is also called `{twin.ref}`." for twin in twins)
    left_out = "".join(f"\n- left out: {line}" for line in plan.left_out)
    text = f"# {version.ref} is ready\n\n| | |\n|---|---|\n| source | `{version.source}` |\n| pin | `{version.resolved}` |\n"
    text += f"| image | `{version.image}` |\n| format | {version.format} |\n| size | {said_bytes(plan.total)} |\n"
    text += f"| licence | {version.license or 'unknown'} |\n\n{fetched}{same}{left_out}"
    await _page(text, key=_key("version", f"{project}/{version.ref}"), description=str(version.ref))
    rows = [
        {
            "model": str(one.ref),
            "also": ", ".join(map(str, one.aliases)),
            "state": one.state,
            "format": one.format or "",
            "size": said_bytes(one.size) if one.size is not None else "",
            "source": one.source,
        }
        for one in newest
    ]
    await _table(rows, key=f"catalog-{_key('of', project)}", description=f"Project {project}: its newest versions")


@step
async def show_start(instance: Instance, url: str, stages: Mapping[str, float]) -> None:
    """Where the time of a launch went: the stages add up to the total."""
    rows = [{"stage": stage, "seconds": round(seconds, 3)} for stage, seconds in stages.items()]
    rows.append({"stage": "total", "seconds": round(sum(stages.values()), 3)})
    served = ", ".join(str(one.served_name) for one in instance.serves)
    await _table(rows, key=_key("start", f"{instance.project}/{instance.name}"), description=f"{served} at {url}")


@step
async def show_clean_plan(plan: CleanPlan) -> None:
    rows = [{"version": str(one.ref), "why": one.why, "frees": said_bytes(one.frees)} for one in plan.versions]
    summary = f"Would remove {len(plan.versions)} versions and free {said_bytes(plan.frees)}."
    await _table(rows, key="clean-plan", description=summary)


@step
async def show_cleaned(plan: CleanPlan, report: CleanReport) -> None:
    """What went, and what stayed although it was planned."""
    left = dict(report.left)
    rows = [
        {"version": str(one.ref), "why": one.why, "frees": said_bytes(one.frees), "outcome": left.get(str(one.ref), "removed")}
        for one in plan.versions
    ]
    summary = f"Removed {len(report.removed)} versions; {said_bytes(report.freed)} were freed."
    await _table(rows, key="cleaned", description=summary)


@step
async def show_findings(findings: list[Finding], *, repaired: bool) -> None:
    words = "were repaired" if repaired else "were found; nothing was changed"
    summary = f"{len(findings)} differences {words}." if findings else "Catalog, store, replicas and engines agree."
    await _table([one.to_json() for one in findings], key="audit", description=summary)


@step
async def show_warmed(warmed: list[Warmed]) -> None:
    rows = [{"version": one.ref, "size": said_bytes(one.size), "outcome": one.outcome} for one in warmed]
    await _table(rows, key="warm-up", description=f"{len(warmed)} versions are marked for every node.")


@step
async def show_state(rows: list[dict[str, str]]) -> None:
    await _table(rows, key="nodes-and-instances", description="What was seen at the last look.")
