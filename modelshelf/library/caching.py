"""Replicas: a version's files on a node, complete or absent; brought before they are needed, evicted when space is."""

from __future__ import annotations

import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy.engine import Connection

from modelshelf.catalog import places, replicas, versions
from modelshelf.catalog.leases import Lease
from modelshelf.catalog.replicas import Kept
from modelshelf.catalog.versions import Version
from modelshelf.crash_points import reach
from modelshelf.errors import ModelshelfError, NodeFull, StillInUse
from modelshelf.library import registering, stamps
from modelshelf.library.importing import alone
from modelshelf.library.opening import NODE, Library
from modelshelf.names import ModelRef, NodeName, ProjectName
from modelshelf.stop import StopToken


@dataclass(frozen=True, slots=True)
class CachePlan:
    """What caching does. `to_copy` in bytes: 0 on a node beside its store, where files are links."""

    ref: ModelRef
    node: NodeName
    size: int
    files: int
    to_copy: int
    there: bool
    evicts: tuple[str, ...]
    """What has to go to stay within the node's budget, least recently used first."""

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "ref": str(self.ref), "node": str(self.node)}


@dataclass(frozen=True, slots=True)
class Warmed:
    """One version that is to be on every node: what became of it, in words."""

    ref: str
    size: int
    outcome: str
    there: bool


def plan_cache(library: Library, asking: ProjectName, ref: ModelRef, node: NodeName) -> CachePlan:
    """What would be done. Raises NotReady, NoSuchModel, NoSuchNode, or NodeFull with its numbers."""
    with library.catalog.reading() as connection:
        replicas.require_node(connection, node)
        target = _ready(connection, asking, ref)
        files = versions.files(connection, asking, target.id)
        evicts = _to_evict(connection, library, target)
    assert target.image is not None
    there = library.node.holds(target.image, files)
    names = () if there else tuple(one.ref for one in evicts)
    return CachePlan(target.ref, node, sum(file.size for file in files), len(files), 0, there, names)


def fill(library: Library, asking: ProjectName, target: Version, stop: StopToken) -> Path:
    """The folder of the complete replica on this node; its row says that it was seen there.

    Under a budget the least recently used replicas make room, never those that are pinned or in use; fills that run count.
    """
    assert target.image is not None
    with library.catalog.reading() as connection:
        files = versions.files(connection, asking, target.id)
    stamps.require_whole(library, target, files, stop)
    lease = Lease(f"replica {library.node_id} {target.image}", says=f"caching {target.ref} on {NODE}")
    with alone(library, lease, stop):
        with library.catalog.writing() as connection:
            evicts = _to_evict(connection, library, target)
            for one in evicts:
                replicas.release(connection, library.node_id, one.version_id, "evicted to make room")
            replicas.desire(connection, library.node_id, target.id)
        for one in evicts:
            _remove_files(library, one)
        try:
            with stamps.linking(library, {file.digest for file in files}):
                folder = library.node.fill(target.image, files, stop)
        except ModelshelfError as error:
            with library.catalog.writing() as connection:
                replicas.observe(connection, library.node_id, target.id, "absent", str(error))
            raise
        with library.catalog.writing() as connection:
            lease.renew(connection)
            replicas.observe(connection, library.node_id, target.id, "present")
            replicas.used(connection, library.node_id, target.id)
    reach("replica.recorded")
    return folder


def bring(library: Library, asking: ProjectName, target: Version, stop: StopToken) -> Path:
    """The folder that an engine reads: the complete replica, or the place where it lies, just as it was registered."""
    if not target.in_place:
        return fill(library, asking, target, stop)
    with library.catalog.reading() as connection:
        at = places.of(connection, target)
    return registering.require_here(library, target, at)


def evict(library: Library, asking: ProjectName, ref: ModelRef) -> int:
    """The replica is not on this node any more; its bytes. Raises StillInUse for one that is pinned or mounted, NoReplica."""
    with library.catalog.writing() as connection:
        target = versions.find(connection, asking, ref)
        one = replicas.require(connection, library.node_id, target)
        if one.held:
            raise StillInUse(what=f"the replica of {target.ref}", holders=one.held)
        replicas.release(connection, library.node_id, target.id, "evicted on request")
    _remove_files(library, one)
    return one.size


def warm_up(library: Library, stop: StopToken, *, seconds: float | None = None) -> list[Warmed]:
    """Every version that is marked for every node is on this one, or it is said why not, with the numbers.

    After `seconds` no more are begun: what is left is told as not reached.
    """
    done: list[Warmed] = []
    until = time.monotonic() + seconds if seconds is not None else math.inf
    with library.catalog.reading() as connection:
        wanted = versions.to_cache_everywhere(connection)
    for owner, version_id in wanted:
        stop.check()
        with library.catalog.reading() as connection:
            target = versions.get(connection, owner, version_id)
            files = versions.files(connection, owner, version_id)
        assert target.image is not None
        if library.node.holds(target.image, files):
            outcome, there = "was there", True
        elif time.monotonic() >= until:
            outcome, there = "not reached: its time was over", False
        else:
            outcome, there = _warmed(library, owner, target, stop)
        done.append(Warmed(str(target.ref), target.size or 0, outcome, there))
    return done


def resolve_ready(library: Library, asking: ProjectName, ref: ModelRef) -> Version:
    with library.catalog.reading() as connection:
        return _ready(connection, asking, ref)


def _ready(connection: Connection, asking: ProjectName, ref: ModelRef) -> Version:
    return versions.require_image(versions.require_ready(versions.find(connection, asking, ref)), "there is nothing to cache")


def _warmed(library: Library, owner: ProjectName, target: Version, stop: StopToken) -> tuple[str, bool]:
    try:
        fill(library, owner, target, stop)
    except NodeFull as error:
        return f"skipped: {error}", False
    return "cached", True


def _to_evict(connection: Connection, library: Library, target: Version) -> list[Kept]:
    """Which replicas have to go so that `target` fits: least recently used first. Raises NodeFull if that is not enough."""
    kept, budget = replicas.kept(connection, library.node_id), replicas.budget(connection, library.node_id)
    if budget is None or any(one.version_id == target.id for one in kept):
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
            node=f"the node {NODE} with a budget of {budget:,} bytes", what=target.ref, needed=f"{size:,} bytes",
            free=f"{max(0, budget - sum(one.size for one in kept)):,} bytes; in use: {held};",
        )  # fmt: skip
    return going


def _remove_files(library: Library, one: Kept) -> None:
    """The files of an image that no other version on this node has."""
    with library.catalog.reading() as connection:
        others = any(other.image == one.image for other in replicas.kept(connection, library.node_id))
        digests = versions.digests_of_image(connection, one.image)
    if not others:
        with stamps.linking(library, digests):
            library.node.evict(one.image)
