"""Replicas: a version's files on a node, complete or absent; brought before they are needed, evicted when space is."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from modelshelf.catalog import journal, places, replicas, versions
from modelshelf.catalog.journal import EventKind
from modelshelf.catalog.leases import Lease, replica_lease
from modelshelf.catalog.replicas import Kept
from modelshelf.catalog.versions import Version
from modelshelf.crash_points import reach
from modelshelf.digest import Digest
from modelshelf.errors import LeaseLost, ModelshelfError, NodeFull, NotReady, StillInUse
from modelshelf.formats.image import PackedFile
from modelshelf.library import copying, registering, stamps
from modelshelf.library.evicting import remove_left_over, remove_unneeded
from modelshelf.library.leases import alone
from modelshelf.library.opening import Library
from modelshelf.names import ModelRef, NodeName, ProjectName
from modelshelf.states import ReplicaObserved
from modelshelf.stop import StopToken


@dataclass(frozen=True, slots=True)
class CachePlan:
    """What caching does. `to_copy` in bytes: 0 where this node's store has the content, and the files can be links to it."""

    ref: ModelRef
    node: NodeName
    size: int
    files: int
    to_copy: int
    there: bool
    evicts: tuple[str, ...]
    """What has to go to stay within the node's budget, least recently used first."""


@dataclass(frozen=True, slots=True)
class Warmed:
    """One version that is to be on every node: what became of it, in words."""

    ref: str
    size: int
    outcome: str
    there: bool


def plan_cache(library: Library, asking: ProjectName, ref: ModelRef) -> CachePlan:
    """Return what would be done on the library's node. Raises NotReady, NoSuchModel, or NodeFull with its numbers."""
    with library.catalog.reading() as connection:
        target = _ready(connection, asking, ref)
        files = versions.files(connection, asking, target.id)
        evicts = _to_evict(connection, library, target)
    image = _image(target)
    there = library.node.replicas.holds(image, files)
    names = () if there else tuple(one.ref for one in evicts)
    lacking = copying.bytes_to_bring(library, target)
    to_copy = 0 if there else lacking or _to_copy(library, files)
    if not evicts:
        _require_room(library, target, to_copy)
    return CachePlan(target.ref, library.node_at.name, sum(file.size for file in files), len(files), to_copy, there, names)


def fill(library: Library, asking: ProjectName, target: Version, stop: StopToken) -> Path:
    """Return the folder of the complete replica on this node; its row states that it was seen there.

    Under a budget the least recently used replicas make room, never those that are pinned or in use; fills that run count.
    Raises LeaseLost if this run was paused until another one took its place.
    """
    image = _image(target)
    copying.bring_content(library, target, stop)
    with library.catalog.reading() as connection:
        files = versions.files(connection, asking, target.id)
    stamps.require_whole(library, target, files, stop)
    if not _is_there(library, target, files):
        _bring(library, target, files, stop)
    reach("replica.recorded")
    return library.node.replicas.files_of(image)


def _is_there(library: Library, target: Version, files: Sequence[PackedFile]) -> bool:
    """Return whether the replica is complete and recorded so, which nobody has decided to change; it is used from now on."""
    if not library.node.replicas.holds(_image(target), files):
        return False
    with library.catalog.writing() as connection:
        return replicas.use(connection, library.node_id, target.id)


def _bring(library: Library, target: Version, files: Sequence[PackedFile], stop: StopToken) -> None:
    image = _image(target)
    lease = Lease(replica_lease(library.node_id, image), says=f"caching {target.ref} on {library.node_at.name}")
    with alone(library, lease, stop):
        with library.catalog.writing() as connection:
            lease.renew(connection)
            evicts = _to_evict(connection, library, target)
            for one in evicts:
                replicas.release(connection, library.node_id, one.version_id, "evicted to make room")
            replicas.desire(connection, library.node_id, target.id)
        for gone in {one.image for one in evicts}:
            remove_unneeded(library, gone)
        try:
            _lay_out(library, target, files, lease, stop)
        except ModelshelfError as error:
            _give_up(library, target, lease, error)
            raise
        with library.catalog.writing() as connection:
            lease.renew(connection)
            replicas.record_filled(connection, library.node_id, target.id)


def _lay_out(library: Library, target: Version, files: Sequence[PackedFile], lease: Lease, stop: StopToken) -> None:
    """Fill the replica while nobody else is at its image. Raises LeaseLost if it is not ours to fill any more."""
    image = _image(target)
    if not library.node.replicas.holds(image, files):
        _require_room(library, target, _to_copy(library, files))
    with library.node.replicas.alone_at(image, stop):
        reach("replica.locked")
        with library.catalog.writing() as connection:
            lease.renew(connection)
        with stamps.linking(library, {file.digest for file in files}):
            library.node.replicas.fill(image, files, stop)


def _give_up(library: Library, target: Version, lease: Lease, error: ModelshelfError) -> None:
    """Record why the replica is not there, unless it is another run's by now."""
    with library.catalog.writing() as connection:
        try:
            lease.renew(connection)
        except LeaseLost:
            return
        replicas.observe(connection, library.node_id, target.id, ReplicaObserved.ABSENT, str(error))


def _image(target: Version) -> Digest:
    if target.image is None:
        raise NotReady(what=target.ref, state="without an image", reason="", advice="Import it again.")
    return target.image


def _to_copy(library: Library, files: Sequence[PackedFile]) -> int:
    with stamps.linking(library, {file.digest for file in files[:1]}):  # it tries a link
        return library.node.replicas.bytes_to_copy(files)


def _require_room(library: Library, target: Version, to_copy: int) -> None:
    free = library.node.replicas.free_bytes()
    if to_copy > free:
        node = f"the node {library.node_at.name}"
        raise NodeFull(node=node, what=target.ref, needed=f"{to_copy:,} bytes", free=f"{free:,} bytes")


def bring(library: Library, asking: ProjectName, target: Version, stop: StopToken) -> Path:
    """The folder that an engine reads: the complete replica, or the place where it lies, just as it was registered."""
    if not target.in_place:
        return fill(library, asking, target, stop)
    with library.catalog.reading() as connection:
        at = places.of(connection, target)
    return registering.require_here(library, target, at)


def evict(library: Library, asking: ProjectName, ref: ModelRef, *, who: str) -> int:
    """The replica is not on this node any more; its bytes. Raises StillInUse for one that is pinned or mounted, NoReplica.

    Safe to run again: what a killed run left is removed first.
    """
    remove_left_over(library)
    with library.catalog.writing() as connection:
        target = versions.find(connection, asking, ref)
        one = replicas.require(connection, library.node_id, target)
        if one.held:
            raise StillInUse(what=f"the replica of {target.ref}", holders=one.held)
        replicas.release(connection, library.node_id, target.id, "evicted on request")
        where = f"from {library.node_at.name}"
        journal.record_event(connection, target.project, who, EventKind.REPLICA_EVICTED, str(target.ref), where)
    remove_unneeded(library, one.image)
    return one.size


def warm_up(library: Library, stop: StopToken, *, seconds: float | None = None) -> list[Warmed]:
    """Cache each version that is marked for every node on this one; return the outcome of each, with the reason where it failed.

    After `seconds` no more are begun, and the rest is reported as not reached.
    """
    done: list[Warmed] = []
    until = time.monotonic() + seconds if seconds is not None else math.inf
    with library.catalog.reading() as connection:
        targets = versions.to_cache_everywhere(connection)
    for target in targets:
        stop.check()
        outcome, there = _warmed(library, target.project, target, stop, late=time.monotonic() >= until)
        done.append(Warmed(str(target.ref), target.size or 0, outcome, there))
    return done


def resolve_ready(library: Library, asking: ProjectName, ref: ModelRef) -> Version:
    with library.catalog.reading() as connection:
        return _ready(connection, asking, ref)


def _ready(connection: Connection, asking: ProjectName, ref: ModelRef) -> Version:
    return versions.require_image(versions.require_ready(versions.find(connection, asking, ref)), "there is nothing to cache")


def _warmed(library: Library, owner: ProjectName, target: Version, stop: StopToken, *, late: bool) -> tuple[str, bool]:
    """What became of one version, and whether it is there: a damaged or vanished one does not end the warm-up of the others."""
    try:
        with library.catalog.reading() as connection:
            files = versions.files(connection, owner, target.id)
        if library.node.replicas.holds(_image(target), files):
            stamps.require_whole(library, target, files, stop)
            return "was there", True
        if late:
            return "not reached within the time limit", False
        fill(library, owner, target, stop)
    except NodeFull as error:
        return f"skipped: {error}", False
    except ModelshelfError as error:
        return f"failed: {error}", False
    return "cached", True


def _to_evict(connection: Connection, library: Library, target: Version) -> list[Kept]:
    """Which replicas have to go so that `target` fits: least recently used first. Raises NodeFull if that is not enough."""
    if (budget := replicas.budget(connection, library.node_id)) is None:
        return []
    kept = replicas.kept(connection, library.node_id)
    if any(one.version_id == target.id for one in kept):
        return []
    size = target.size or 0
    over = sum(one.size for one in kept) + size - budget
    going: list[Kept] = []
    for one in sorted((one for one in kept if not one.held), key=lambda one: one.last_use):
        if over <= 0:
            break
        going.append(one)
        over -= one.size
    if over > 0:
        held = ", ".join(f"{one.ref} ({one.held})" for one in kept if one.held) or "nothing"
        raise NodeFull(
            node=f"the node {library.node_at.name} with a budget of {budget:,} bytes", what=target.ref, needed=f"{size:,} bytes",
            free=f"{max(0, budget - sum(one.size for one in kept)):,} bytes; in use: {held};",
        )  # fmt: skip
    return going
