"""Compare catalog, store, replicas and engines, and repair on request."""

from __future__ import annotations

from typing import Literal

from flows.lifecycle import lifecycle
from modelshelf.catalog.leases import AUDIT
from modelshelf.library.findings import left
from tasks import leases, reports, upkeep


@lifecycle("audit-library", run_name=lambda given: "audit and repair" if given["repair"] else "audit")
async def audit_library(rehash: Literal["none", "part", "all"] = "none", repair: bool = False) -> int:
    """Compares the catalog with store, replicas and engines. Returns how many differences are left.

    Args:
        rehash: Read the store's bytes and compare digests: all, or the part that was read longest ago (one twenty-fifth).
        repair: Repair each difference as the report states.
    """
    async with leases.hold(AUDIT):
        findings = await upkeep.audit(rehash=rehash, repair=repair)
        await reports.show_findings(findings, repaired=repair)
        return left(findings)
