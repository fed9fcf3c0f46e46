"""Cleaning: a policy becomes a plan, and the run removes what the plan names and nothing else.

What cannot be read stops it: a manifest that is missing or says something else than the catalog means that we do not know
what refers to what, and then nothing is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from modelshelf.catalog import stale, versions
from modelshelf.catalog.ids import VersionId
from modelshelf.catalog.stale import Policy, Stale
from modelshelf.digest import Digest
from modelshelf.errors import NoSuchModel, StillInUse, Unreadable
from modelshelf.library.deleting import Deletion, remove_replica, remove_rows
from modelshelf.library.deletions import remove_condemned
from modelshelf.library.evicting import remove_left_over
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT
from modelshelf.names import ModelRef, ProjectName
from modelshelf.states import VersionState
from modelshelf.stop import StopToken


@dataclass(frozen=True, slots=True)
class Planned:
    """A version that goes, why, and the bytes that go with it."""

    version_id: VersionId
    ref: ModelRef
    image: str | None
    why: str
    frees: int


@dataclass(frozen=True, slots=True)
class CleanPlan:
    """What a cleaning removes; `frees` in bytes."""

    policy: Policy
    versions: tuple[Planned, ...]
    frees: int


@dataclass(frozen=True, slots=True)
class CleanReport:
    """What was removed and what was left, with the reason; `freed` in bytes, everything counted."""

    removed: tuple[str, ...]
    left: tuple[tuple[str, str], ...]
    freed: int


def plan_clean(library: Library, asking: ProjectName, policy: Policy) -> CleanPlan:
    """What the policy removes now. It is tried and undone, so the bytes are those that would be freed."""
    planned: list[Planned] = []
    with library.catalog.trying() as connection:
        for one in stale.stale(connection, asking, policy):
            deletion = remove_rows(library, connection, asking, one.ref, who="plan")
            planned.append(Planned(one.version_id, one.ref, one.image, _why(one, policy), deletion.frees))
    return CleanPlan(policy, tuple(planned), sum(one.frees for one in planned))


def clean(library: Library, asking: ProjectName, plan: CleanPlan, stop: StopToken, *, who: str) -> CleanReport:
    """The plan's versions are gone, but for those that someone began to use meanwhile. Raises Unreadable, and removes nothing.

    Safe to run again, also after a kill: what was marked is finished first.
    """
    require_readable(library, asking, plan.versions)
    remove_left_over(library)
    freed = remove_condemned(library, stop) + library.store.discard_abandoned(DEFAULT.abandoned_seconds)
    removed: list[str] = []
    left: list[tuple[str, str]] = []
    for one in plan.versions:
        stop.check()
        try:
            deletion = _remove(library, asking, one, who)
        except (StillInUse, NoSuchModel) as error:
            left.append((str(one.ref), str(error)))
            continue
        remove_replica(library, deletion)
        freed += remove_condemned(library, stop)
        removed.append(str(one.ref))
    return CleanReport(tuple(removed), tuple(left), freed)


def require_readable(library: Library, asking: ProjectName, planned: Iterable[Planned]) -> None:
    """Raise Unreadable unless the manifests of these versions, and of those beside them, say what the catalog says."""
    known: dict[Digest, set[tuple[str, int]]] = {}
    called: dict[Digest, ModelRef] = {}
    for name in sorted({one.ref.model for one in planned}):
        with library.catalog.reading() as connection:
            for one in versions.of_model(connection, asking, name):
                if one.image is not None:
                    files = versions.files(connection, asking, one.id)
                    known[one.image] = {(str(file.digest), file.size) for file in files}
                    called[one.image] = one.ref
    for image, content in library.store.read_each(known, DEFAULT.manifest_bytes):
        if manifest_layers(image, content) != known[image]:
            raise Unreadable(what=f"the manifest of {called[image]}", reason="it lists other blobs than the catalog")


def manifest_layers(image: Digest, content: bytes | None) -> set[tuple[str, int]]:
    """The layers of a stored manifest: digests and sizes. Raises Unreadable if it is missing, altered, or of another kind."""
    if content is None:
        raise Unreadable(what=f"the manifest {image}", reason="the store does not hold it")
    if Digest.of(content) != image:
        raise Unreadable(what=f"the manifest {image}", reason="its bytes have another digest")
    try:
        return {(str(layer["digest"]), int(layer["size"])) for layer in json.loads(content)["layers"]}
    except (ValueError, KeyError, TypeError) as error:
        raise Unreadable(
            what=f"the manifest {image}", reason=f"it is not a manifest that modelshelf writes ({type(error).__name__})"
        ) from error


def _remove(library: Library, asking: ProjectName, one: Planned, who: str) -> Deletion:
    with library.catalog.writing() as connection:
        current = versions.get(connection, asking, one.version_id)
        if (str(current.image) if current.image else None) != one.image:
            raise StillInUse(what=one.ref, holders="an import that finished since the plan was made")
        return remove_rows(library, connection, asking, one.ref, who=who)


def _why(one: Stale, policy: Policy) -> str:
    if one.state == VersionState.READY:
        return f"{one.age:.0f} days old, and {policy.keep} newer versions are kept"
    return f"{one.state} for {one.age:.0f} days"
