"""The nodes of the catalog, as their rows have them: for a list of all, whichever machine asks."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.engine import Connection

from modelshelf.catalog.tables import image, instance, node, replica, version
from modelshelf.names import NodeName
from modelshelf.states import InstanceState, ReplicaObserved


@dataclass(frozen=True, slots=True)
class NodeRow:
    """A node, and what its own looks last saw on it. Sizes in bytes; `seen_at` in seconds since 1970."""

    name: NodeName
    region: str
    budget: int | None
    replicas: int
    used: int
    instances: int
    seen_at: float | None


def page(connection: Connection) -> list[NodeRow]:
    """Return every node, by name."""
    here = (
        select(
            replica.c.node_id,
            func.count().label("replicas"),
            func.coalesce(func.sum(image.c.size), 0).label("used"),
            func.max(replica.c.verified_at).label("seen_at"),
        )
        .join(version, replica.c.version_id == version.c.id)
        .join(image, version.c.image == image.c.digest)
        .where(replica.c.observed == ReplicaObserved.PRESENT)
        .group_by(replica.c.node_id)
        .subquery()
    )
    ready = (
        select(instance.c.node_id, func.count().label("instances"))
        .where(instance.c.state == InstanceState.READY)
        .group_by(instance.c.node_id)
        .subquery()
    )
    rows = connection.execute(
        select(node, here.c.replicas, here.c.used, here.c.seen_at, ready.c.instances)
        .outerjoin(here, here.c.node_id == node.c.id)
        .outerjoin(ready, ready.c.node_id == node.c.id)
        .order_by(node.c.name)
    )
    return [
        NodeRow(
            NodeName(row.name), row.region, row.budget, row.replicas or 0, int(row.used or 0), row.instances or 0, row.seen_at
        )
        for row in rows
    ]
