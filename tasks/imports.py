"""The steps of an import. Each can be tried again: it finds what is there."""

from __future__ import annotations

from modelshelf.catalog import journal
from modelshelf.catalog.leases import Lease
from modelshelf.catalog.versions import Version
from modelshelf.json_form import as_json
from modelshelf.library import categories, importing
from modelshelf.library.importing import Arrived, ImportPlan
from modelshelf.names import ModelName, ProjectName
from modelshelf.sources.contract import Listing, Pin
from modelshelf.stop import StopToken
from modelshelf.words import by_reason, said_bytes
from tasks import logs
from tasks.events import tell
from tasks.library import library, run_id, who
from tasks.progress import shown
from tasks.retries import step
from tasks.sources import Origin, source_of
from tasks.threads import in_thread


@step
async def plan_only(
    origin: Origin, project: ProjectName, name: ModelName, pin: Pin, listing: Listing, category: str, allow_code: bool
) -> ImportPlan:
    """What an import would do; recorded for the command to show, and nothing else is changed."""
    source = await source_of(origin)

    def work(stop: StopToken) -> ImportPlan:
        plan = importing.plan_dry(
            library(), project, name, pin, listing, source=source, category=category, allow_code=allow_code, stop=stop
        )
        with library().catalog.writing() as connection:
            journal.record_plan(connection, run_id(), as_json(plan))
        return plan

    return await in_thread(work)


@step
async def reserve(origin: Origin, project: ProjectName, name: ModelName, pin: Pin, category: str) -> Version:
    """There is a row for the version; it is found again by the next run."""

    def work(_stop: object) -> Version:
        with library().catalog.writing() as connection:
            return categories.reserve(connection, project, name, pin, source=str(origin.uri), category=category, who=who())

    return await in_thread(work)


@step
async def plan(project: ProjectName, version: Version, listing: Listing) -> ImportPlan:
    """What this run does, recorded before it acts; what it counts on is held in the store."""
    plan = await in_thread(lambda stop: importing.plan_and_hold(library(), project, version, listing, run_id(), stop))
    if plan.ready:
        logs.say(f"{version.ref} is already ready; nothing is fetched.")
        return plan
    for line in by_reason(plan.left_out):
        logs.say(f"Left out: {line}")
    logs.say(_what_moves(plan))
    return plan


@step
async def fetch_missing(
    origin: Origin, project: ProjectName, version: Version, listing: Listing, plan: ImportPlan, allow_code: bool
) -> tuple[Arrived, ...]:
    """Every file is in the store, proven; what was there is not fetched again."""
    source = await source_of(origin)
    return await shown(
        "fetching",
        str(version.ref),
        plan.to_fetch,
        lambda stop, meter: importing.fetch_missing(
            library(),
            project,
            version,
            source,
            listing,
            plan,
            meter=meter,
            stop=stop,
            allow_code=allow_code,
            limits=library().limits,
        ),
    )


@step
async def follow_tag(project: ProjectName, version: Version, pin: Pin) -> None:
    """Let the tag name this version, which was ready before."""
    await in_thread(lambda _stop: importing.follow_tag(library(), project, version, pin, who=who()))


@step
async def publish(
    project: ProjectName,
    version: Version,
    listing: Listing,
    arrived: tuple[Arrived, ...],
    pin: Pin,
    lease: Lease,
    category: str = "",
) -> Version:
    """The version is ready and listed, or nothing of it is visible."""
    published = await in_thread(
        lambda _stop: importing.publish(
            library(), project, version, listing, arrived, pin, lease=lease, who=who(), category=category
        )
    )
    if (disagreement := categories.disagreement(published)) is not None:
        logs.say(disagreement)
    logs.say(f"Published {published.ref}: image {published.image}.")
    tell("version.ready", f"{project}/{published.ref}")
    return published


def _what_moves(plan: ImportPlan) -> str:
    """Return what is fetched, and what the store holds already."""
    if plan.moved == plan.total:
        return f"{said_bytes(plan.total)} to fetch."
    if not plan.to_fetch:
        return f"Nothing to fetch: the store holds all of it, {said_bytes(plan.total)}."
    before = f"; {said_bytes(plan.resumed)} arrived in an earlier try" if plan.resumed else ""
    held = "; the store holds the rest" if plan.to_fetch < plan.total else ""
    return f"{said_bytes(plan.moved)} of {said_bytes(plan.total)} to fetch{before}{held}."
