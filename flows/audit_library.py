"""Compare catalog, store, replicas and engines, and repair on request."""

from __future__ import annotations

from typing import Literal

from flows.lifecycle import lifecycle
from modelshelf.library.findings import left
from tasks import leases, reports, upkeep


@lifecycle("audit-library", run_name=lambda given: "audit and repair" if given["repair"] else "audit")
async def audit_library(rehash: Literal["none", "part", "all"] = "none", repair: bool = False) -> int:
    """Looks for every difference between what is recorded and what is there. Returns how many are left.

    Args:
        rehash: Read bytes of the store and compare digests: all of them, or a night's part, so that all are read within a month.
        repair: Mend what was found, as the report says for each.
    """
    async with leases.hold("audit"):
        findings = await upkeep.audit(rehash=rehash, repair=repair)
        await reports.show_findings(findings, repaired=repair)
        return left(findings)
