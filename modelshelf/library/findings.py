"""What an audit finds: differences, each with what a repair does, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from modelshelf.crash_points import reach
from modelshelf.errors import ModelshelfError

Rehash = Literal["none", "part", "all"]
"""How much of the store an audit reads: `part` is what was read longest ago, so that all of it is within a month."""
REPAIRED = "repaired"


class FindingKind(StrEnum):
    """What is not as the catalog has it: in the store, on the node, on a filesystem, or of an engine."""

    FILE_EXTRA = "file extra"
    DELETION_UNFINISHED = "deletion unfinished"
    BLOB_MISSING = "blob missing"
    BLOB_DAMAGED = "blob damaged"
    BLOB_EXTRA = "blob extra"
    MANIFEST_DIFFERS = "manifest differs"
    REPLICA_GONE = "replica gone"
    REPLICA_EXTRA = "replica extra"
    PLACE_CHANGED = "place changed"
    PLACE_NOT_SEEN = "place not seen"
    INSTANCE_GONE = "instance gone"
    SERVED_VERSION_FAILED = "served version failed"
    ENGINE_LISTS_OTHER = "engine lists other"
    ENGINE_WITHOUT_A_ROW = "engine without a row"
    ENGINE_LEFT_OVER = "engine left over"
    INSTANCE_FOLDER_EXTRA = "instance folder extra"


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference: of which kind, what it is about, what was found, what a repair does, and what it did.

    `outcome` is empty if nothing was to be repaired, `repaired`, or `left: ` and why.
    """

    kind: FindingKind
    what: str
    found: str
    repair: str
    outcome: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """A finding, and how it is mended: the function returns why it was left, or nothing. None: a person has to decide."""

    finding: Finding
    mend: Callable[[], str | None] | None

    def mended(self) -> Finding:
        """The finding with what came of its repair. An error of ours leaves this one as it is, and no other."""
        reach("audit.mending")
        if self.mend is None:
            why: str | None = self.finding.repair.removeprefix("none: ")
        else:
            try:
                why = self.mend()
            except ModelshelfError as error:
                why = str(error)
        return replace(self.finding, outcome=f"left: {why}" if why else REPAIRED)


def left(findings: list[Finding]) -> int:
    """How many of them are still there."""
    return sum(one.outcome != REPAIRED for one in findings)
