"""Replicas: a version's files on a node, complete or absent."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from modelshelf.catalog import replicas, versions
from modelshelf.catalog.leases import Lease
from modelshelf.catalog.versions import Version
from modelshelf.crash_points import reach
from modelshelf.errors import ModelshelfError
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

    def to_json(self) -> dict[str, object]:
        return {**asdict(self), "ref": str(self.ref), "node": str(self.node)}


def plan_cache(library: Library, asking: ProjectName, ref: ModelRef, node: NodeName) -> CachePlan:
    """What would be done. Raises NotReady, NoSuchModel or NoSuchNode."""
    with library.catalog.reading() as connection:
        replicas.require_node(connection, node)
        target = versions.require_ready(versions.find(connection, asking, ref))
        files = versions.files(connection, asking, target.id)
    assert target.image is not None
    there = library.node.holds(target.image, files)
    return CachePlan(target.ref, node, sum(file.size for file in files), len(files), 0, there)


def fill(library: Library, asking: ProjectName, target: Version, stop: StopToken) -> Path:
    """The folder of the complete replica on this node; its row says that it was seen there."""
    assert target.image is not None
    with library.catalog.reading() as connection:
        files = versions.files(connection, asking, target.id)
    lease = Lease(f"replica {library.node_id} {target.image}", says=f"caching {target.ref} on {NODE}")
    with alone(library, lease, stop):
        with library.catalog.writing() as connection:
            replicas.desire(connection, library.node_id, target.id)
        try:
            folder = library.node.fill(target.image, files, stop)
        except ModelshelfError as error:
            with library.catalog.writing() as connection:
                replicas.observe(connection, library.node_id, target.id, "absent", str(error))
            raise
        with library.catalog.writing() as connection:
            lease.renew(connection)
            replicas.observe(connection, library.node_id, target.id, "present")
    reach("replica.recorded")
    return folder


def resolve_ready(library: Library, asking: ProjectName, ref: ModelRef) -> Version:
    with library.catalog.reading() as connection:
        return versions.require_ready(versions.find(connection, asking, ref))
