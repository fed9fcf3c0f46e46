"""What should be on a node and is not: instances whose engine ended without being stopped, and replicas that are lost.

Each is claimed for one try at a time. The wait before the next try doubles; after the last one a person has to act.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, Table, bindparam, exists, func, literal_column, select, update
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import now
from modelshelf.catalog.ids import NodeId, VersionId
from modelshelf.catalog.tables import instance, model, project, replica, version
from modelshelf.limits import Limits
from modelshelf.names import InstanceName, ModelName, ModelRef, ProjectName, Tag
from modelshelf.states import InstanceDesired, InstanceState, ReplicaDesired, ReplicaObserved, VersionState


def claim_instances(connection: Connection, node_id: NodeId, limits: Limits) -> list[tuple[ProjectName, InstanceName]]:
    """Return the instances on the node that should run, do not, and are due; none is due again before its next try."""
    rows = connection.execute(
        select(instance.c.id, instance.c.name, instance.c.attempts, project.c.name.label("owner"))
        .join(project, instance.c.project_id == project.c.id)
        .where(
            instance.c.node_id == node_id,
            instance.c.desired == InstanceDesired.RUNNING,
            instance.c.state.in_((InstanceState.FAILED, InstanceState.STOPPED)),
        )
        .where(_due(connection, instance, limits))
        .order_by(instance.c.id)
        .with_for_update(of=instance)
    ).all()
    tried = [{"one": row.id, "tries": row.attempts, "wait": _wait(row.attempts, limits)} for row in rows]
    _count(connection, instance, instance.c.id == bindparam("one"), tried)
    return [(ProjectName(row.owner), InstanceName(row.name)) for row in rows]


def claim_replicas(connection: Connection, node_id: NodeId, limits: Limits) -> list[tuple[ProjectName, ModelRef]]:
    """Return the versions that should have a replica on the node, have none, and are due. One that is not ready is not."""
    rows = connection.execute(_differing(connection, limits, node_id, locked=True)).all()
    tried = [{"one": row.version_id, "tries": row.attempts, "wait": _wait(row.attempts, limits)} for row in rows]
    _count(connection, replica, (replica.c.node_id == node_id) & (replica.c.version_id == bindparam("one")), tried)
    return [(ProjectName(row.owner), ModelRef(ModelName(row.model), Tag(row.name))) for row in rows]


@dataclass(frozen=True, slots=True)
class Differing:
    """A replica that is not as it should be: to be filled if `desired` is present, else to be removed."""

    node_id: NodeId
    version_id: VersionId
    project: ProjectName
    ref: ModelRef
    desired: ReplicaDesired
    observed: ReplicaObserved


def differing(connection: Connection, limits: Limits) -> list[Differing]:
    """Return the replicas, of every node, that are not as they should be and are due: those first that wait longest.

    One statement, and at most `differing_at_once` rows, whatever the numbers of nodes and versions.
    """
    return [
        Differing(
            row.node_id,
            row.version_id,
            ProjectName(row.owner),
            ModelRef(ModelName(row.model), Tag(row.name)),
            ReplicaDesired(row.desired),
            ReplicaObserved(row.observed),
        )
        for row in connection.execute(_differing(connection, limits))
    ]


def _differing(
    connection: Connection, limits: Limits, node_id: NodeId | None = None, *, locked: bool = False
) -> Select[tuple[Any, ...]]:
    """What differs and is due, of one node or of all.

    The replicas are chosen first, and only then named: an index whose condition is the first one here holds just these rows.
    """
    ready = exists(
        select(version.c.id).where(
            version.c.id == replica.c.version_id, version.c.state == VersionState.READY, version.c.disabled.is_(False)
        )
    )
    chosen = (
        select(replica)
        .where(replica.c.desired != replica.c.observed)
        .where(replica.c.observed.in_((ReplicaObserved.PRESENT, ReplicaObserved.ABSENT)))
        .where(_due(connection, replica, limits), ready)
        .order_by(_next_try(replica), replica.c.node_id, replica.c.version_id)
        .limit(limits.differing_at_once)
    )
    if node_id is not None:
        chosen = chosen.where(replica.c.node_id == node_id, replica.c.desired == ReplicaDesired.PRESENT)
    one = (chosen.with_for_update() if locked else chosen).subquery()
    return (
        select(one, version.c.name, model.c.name.label("model"), project.c.name.label("owner"))
        .join(version, one.c.version_id == version.c.id)
        .join(model, version.c.model_id == model.c.id)
        .join(project, model.c.project_id == project.c.id)
        .order_by(func.coalesce(one.c.next_try, 0), one.c.node_id, one.c.version_id)
    )


def settle(connection: Connection, node_id: NodeId, limits: Limits) -> None:
    """Forget the tries of what has recovered: an instance once it has run for `recovered_seconds`, so that one whose engine
    ends again and again is not started for ever."""
    steady = (instance.c.state == InstanceState.READY) & (instance.c.ready_at <= now(connection) - limits.recovered_seconds)
    for table, recovered in ((instance, steady), (replica, replica.c.observed == ReplicaObserved.PRESENT)):
        settled = update(table).where(table.c.node_id == node_id, table.c.attempts > 0, recovered)
        connection.execute(settled.values(attempts=0, next_try=None))


def _due(connection: Connection, table: Table, limits: Limits) -> ColumnElement[bool]:
    return (table.c.attempts < limits.recovery_attempts) & (_next_try(table) <= now(connection))


def _next_try(table: Table) -> ColumnElement[float]:
    """When the next try is due; 0 for what was never tried. Written out, so that an index can be of the same words."""
    return func.coalesce(table.c.next_try, literal_column("0"))


def _wait(attempts: int, limits: Limits) -> int:
    """Seconds until the next try of what was tried `attempts` times before this one."""
    return min(limits.recovery_seconds << attempts, limits.recovery_seconds_most)


def _count(connection: Connection, table: Table, here: ColumnElement[bool], tried: list[dict[str, int]]) -> None:
    later = now(connection) + bindparam("wait", type_=Integer)
    counted = update(table).where(here).values(attempts=bindparam("tries", type_=Integer) + 1, next_try=later)
    if tried:
        connection.execute(counted, tried)
