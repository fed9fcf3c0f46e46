"""What the lifecycles report in Prefect's UI: one page for each occasion, and the page of the whole library."""

from __future__ import annotations

from collections.abc import Mapping

from modelshelf.catalog import instances, versions
from modelshelf.catalog.instances import Instance
from modelshelf.catalog.versions import Version
from modelshelf.library.asking import curl
from modelshelf.library.caching import Warmed
from modelshelf.library.cleaning import CleanPlan, CleanReport
from modelshelf.library.findings import Finding, left
from modelshelf.library.importing import ImportPlan
from modelshelf.library.opening import Library
from modelshelf.library.running import seen_state
from modelshelf.names import ProjectName
from modelshelf.states import VersionState
from modelshelf.words import markdown, said_bytes
from tasks.library import in_run, library
from tasks.pages import facts, key, link, publish, publish_in_place, table
from tasks.retries import step
from tasks.threads import in_thread

_MANY = 200


@step
async def show_plan(plan: ImportPlan) -> None:
    """Show what an import would fetch."""
    summary = f"{plan.ref} from {plan.source}: {said_bytes(plan.moved)} of {said_bytes(plan.total)} to fetch"
    rows = [
        {"file": file.path, "size": said_bytes(file.size), "to do": "fetch" if file.fetch else "in store"} for file in plan.files
    ]
    text = f"# Plan: import {markdown(plan.ref)}\n\n{markdown(summary)}.\n\n{table(rows)}{_left_out(plan)}"
    await publish(key("plan", plan.model), text, summary)


@step
async def show_import(project: ProjectName, version: Version, plan: ImportPlan) -> None:
    """Show what was brought in."""
    with library().catalog.reading() as connection:
        twins = versions.same_content(connection, project, version)
    told = facts(
        source=version.source, pin=version.resolved, image=version.image or "none: its files stay where they are",
        format=version.format or "", size=said_bytes(plan.total), licence=version.license or "unknown",
    )  # fmt: skip
    fetched = f"{said_bytes(plan.moved)} of {said_bytes(plan.total)} were fetched."
    same = "".join(f"\n\nThe same content is also called {markdown(twin.ref)}." for twin in twins)
    text = f"# {markdown(version.ref)} is ready\n\n{told}\n{fetched}{same}{_left_out(plan)}"
    await publish(key("import", _other(project), version.model), text, f"{version.ref} is ready")


@step
async def show_start(instance: Instance, url: str, stages: Mapping[str, float]) -> None:
    """Show what an instance serves, where, how to ask it, and where the time of its launch went: the stages add up."""
    served = ", ".join(f"{one.served_name} ({one.ref})" for one in instance.serves)
    told = facts(serves=served, address=url, engine=instance.engine, settings_revision=instance.revision)
    rows = [{"stage": stage, "seconds": f"{seconds:.3f}"} for stage, seconds in stages.items()]
    rows.append({"stage": "total", "seconds": f"{sum(stages.values()):.3f}"})
    notes = "".join(f"\n- {markdown(note)}" for note in instance.notes)
    text = f"# {markdown(instance.name)} is ready\n\n{told}\n```sh\n{curl(instance)}\n```\n\n{table(rows)}{notes}"
    await publish(key("instance", _other(instance.project), instance.name), text, f"{served} at {url}")


@step
async def show_clean_plan(plan: CleanPlan) -> None:
    """Show what a cleaning would remove."""
    rows = [{"version": one.ref, "why": one.why, "frees": said_bytes(one.frees)} for one in plan.versions]
    summary = f"Would remove {len(plan.versions)} versions and free {said_bytes(plan.frees)}."
    await publish("clean", f"# Plan: clean\n\n{summary}\n\n{table(rows)}", summary)


@step
async def show_cleaned(plan: CleanPlan, report: CleanReport) -> None:
    """Show what went, and what stayed although it was planned."""
    left = dict(report.left)
    rows = [
        {"version": one.ref, "why": one.why, "frees": said_bytes(one.frees), "outcome": left.get(str(one.ref), "removed")}
        for one in plan.versions
    ]
    summary = f"Removed {len(report.removed)} versions; {said_bytes(report.freed)} were freed."
    await publish("clean", f"# Cleaned\n\n{summary}\n\n{table(rows)}", summary)


@step
async def show_findings(findings: list[Finding], *, repaired: bool) -> None:
    """Show what an audit found."""
    rest = left(findings)
    words = f"{len(findings) - rest} were repaired, {rest} are left" if repaired else "nothing was changed"
    summary = f"{len(findings)} differences were found; {words}." if findings else "Catalog, store, replicas and engines agree."
    each = "".join(
        f"\n## {markdown(one.kind)}\n\n{markdown(one.what)}\n\n- found: {markdown(one.found)}\n"
        f"- repair: {markdown(one.outcome or one.repair)}\n"
        for one in findings[:_MANY]
    )
    more = f"\n{len(findings) - _MANY} more: `modelshelf audit`.\n" if len(findings) > _MANY else ""
    await publish("audit", f"# Audit\n\n{summary}\n{each}{more}", summary)


@step
async def show_warmed(warmed: list[Warmed]) -> None:
    """Show what a warm-up brought to this node, and what it could not."""
    rows = [{"version": one.ref, "size": said_bytes(one.size), "outcome": one.outcome} for one in warmed]
    summary = f"{sum(one.there for one in warmed)} of {len(warmed)} marked versions are on this node."
    await publish("warm-up", f"# Warm-up\n\n{summary}\n\n{table(rows)}", summary)


@step
async def show_state(rows: list[dict[str, str]]) -> None:
    """Show what the last look at replicas and engines saw."""
    await publish_in_place(
        "nodes-and-instances", f"# Nodes and instances\n\n{table(rows)}", "Replicas and instances at the last check"
    )


async def show_library() -> None:
    """Bring the page of the whole library up to date. Each lifecycle does so when it ends."""
    if in_run():
        text = await in_thread(lambda _stop: library_page(library()))
        await publish_in_place("library", text, "Versions, instances and disk")


def library_page(library: Library) -> str:
    """Return what the library holds, as Markdown: the default project's versions, instances, disk, and links to other pages."""
    with library.catalog.reading() as connection:
        newest = versions.page(connection, ProjectName("default"), limit=_MANY)
        running = instances.on_node(connection, library.node_id)
    held = [
        {
            "model": link(key("import", one.model), one.ref) if one.state == VersionState.READY else one.ref,
            "also": ", ".join(map(str, one.aliases)),
            "state": one.state,
            "format": one.format or "",
            "size": said_bytes(one.size) if one.size is not None else "",
        }
        for one in newest
    ]
    serving = [
        {
            "instance": link(key("instance", _other(one.project), one.name), one.name),
            "state": seen_state(library, one)[0], "engine": one.engine,
            "serves": ", ".join(str(model.ref) for model in one.serves), "address": f"{one.bind}:{one.port}",
        }
        for one in running
    ]  # fmt: skip
    pages = [link(name, name) for name in ("audit", "clean", "warm-up", "nodes-and-instances")]
    return (
        f"# Library\n\n## Versions\n\n{table(held) or 'None yet.'}\n## Instances\n\n{table(serving) or 'None yet.'}\n"
        f"## Disk\n\n{said_bytes(library.store.free_bytes())} free in the store. For details: `modelshelf disk`.\n\n"
        f"## Reports\n\n{' · '.join(pages)}\n"
    )


def _other(project: ProjectName) -> str:
    """Keys name a project only if it is not the default one."""
    return "" if project.text == "default" else project.text


def _left_out(plan: ImportPlan) -> str:
    return "".join(f"\n- left out: {markdown(line)}" for line in plan.left_out)
