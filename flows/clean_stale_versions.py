"""Remove the versions that a policy does not keep: plan first, then exactly the plan."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from flows.parameters import AtMost, Days, Keep, ShortText
from modelshelf.catalog.leases import clean_lease
from modelshelf.catalog.stale import Policy
from modelshelf.names import ProjectName
from tasks import leases, reports, upkeep


@lifecycle("clean-stale-versions", run_name="clean project {project}")
async def clean_stale_versions(
    keep: Keep = 2, days: Days = 30, at_most: AtMost = 500, project: ShortText = "default", dry_run: bool = False
) -> int:
    """Removes old versions that nothing refers to, and the bytes that only they used. Returns the number of bytes freed.

    Versions are never removed while an instance or template serves them, while they have an alias or a pinned replica, or
    while they are being imported. If anything cannot be read, nothing is removed.

    Args:
        keep: How many of the newest versions of each model to keep.
        days: Keep versions that are younger than this many days.
        at_most: The most versions to remove in one run; the next run removes the rest.
        project: The project that owns them.
        dry_run: Only show what would be removed.
    """
    asking = ProjectName(project)
    async with leases.hold(clean_lease(asking)):
        plan = await upkeep.plan_clean(asking, Policy(keep, days, at_most))
        if dry_run:
            await reports.show_clean_plan(plan)
            return plan.frees
        report = await upkeep.clean(asking, plan)
        await reports.show_cleaned(plan, report)
        return report.freed
