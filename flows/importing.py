"""The core that every import shares: pin, list, reserve, plan, fetch, publish."""

from __future__ import annotations

from modelshelf.errors import outcome
from modelshelf.library.importing import ImportPlan
from modelshelf.names import ModelName, ProjectName
from tasks import imports, leases, reports, sources
from tasks.sources import Origin


async def bring_in(origin: Origin, *, name: str, project: str, category: str, allow_code: bool, dry_run: bool) -> ImportPlan:
    """Bring the version in, and return what that took. If this raises, the catalog records why the version failed."""
    again = "Try again." if dry_run else "Downloaded files are kept: import it again to resume."
    with outcome("Nothing was published.", again=again), sources.trusting(origin), sources.opened_once():
        return await _bring_in(origin, name, project, category, allow_code, dry_run)


async def _bring_in(origin: Origin, name: str, project: str, category: str, allow_code: bool, dry_run: bool) -> ImportPlan:
    asking = ProjectName(project)
    called = ModelName(name) if name else origin.model
    pin = await sources.pin(origin)
    listing = await sources.list_files(origin, pin)
    if dry_run:
        plan = await imports.plan_only(origin, asking, called, pin, listing, category, allow_code)
        await reports.show_plan(plan)
        return plan

    version = await imports.reserve(origin, asking, called, pin, category)
    async with leases.importing(version) as lease:
        plan = await imports.plan(asking, version, listing)
        if plan.ready:
            await imports.follow_tag(asking, version, pin)
        else:
            arrived = await imports.fetch_missing(origin, asking, version, listing, plan, allow_code)
            version = await imports.publish(asking, version, listing, arrived, pin, lease, category)
    await reports.show_import(asking, version, plan)
    return plan
