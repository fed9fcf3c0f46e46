"""Compare catalog, store, replicas and engines, and repair on request."""

from __future__ import annotations

from flows.lifecycle import lifecycle
from tasks import leases, reports, upkeep


@lifecycle("audit-library", run_name=lambda given: "audit and repair" if given["repair"] else "audit")
async def audit_library(rehash: bool = False, repair: bool = False) -> int:
    """Looks for every difference between what is recorded and what is there. Returns how many were found.

    Args:
        rehash: Read every byte of the store and compare digests.
        repair: Mend what was found, as the report says for each.
    """
    async with leases.hold("audit"):
        findings = await upkeep.audit(rehash=rehash, repair=repair)
        await reports.show_findings(findings, repaired=repair)
        return len(findings)
