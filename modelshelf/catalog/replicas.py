"""Which node holds which version: desired, observed and verified are three facts."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Select, bindparam, delete, insert, select, update
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import insert_into, now
from modelshelf.catalog.ids import NodeId, VersionId
from modelshelf.catalog.leases import being_filled
from modelshelf.catalog.tables import image, instance, model, mount, node, project, replica, version
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import NoReplica, NoSuchNode
from modelshelf.names import ModelName, ModelRef, NodeName, ProjectName, Tag
from modelshelf.states import InstanceState, ReplicaDesired, ReplicaObserved


@dataclass(frozen=True, slots=True)
class Replica:
    """One version on one node, as its row says it."""

    node: NodeName
    desired: ReplicaDesired
    observed: ReplicaObserved
    verified_at: float | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Kept:
    """One replica that takes space on a node, or is about to. `held` says in words why it may not go; `size` in bytes."""

    version_id: VersionId
    ref: str
    image: Digest
    size: int
    last_use: float
    held: str


def node_id(connection: Connection, name: NodeName, *, region: str, kind: str) -> NodeId:
    """The node's id; its row is made if it is not there."""
    found = connection.execute(select(node.c.id).where(node.c.name == str(name))).scalar_one_or_none()
    if found is not None:
        return NodeId(found)
    row = insert(node).values(name=str(name), region=region, kind=kind, labels={}).returning(node.c.id)
    return NodeId(connection.execute(row).scalar_one())


def require_node(connection: Connection, name: NodeName) -> NodeId:
    known = {row.name: row.id for row in connection.execute(select(node.c.name, node.c.id))}
    if str(name) not in known:
        raise NoSuchNode(node=name, known=", ".join(sorted(known)) or "none")
    return NodeId(known[str(name)])


def desire(connection: Connection, node_id: NodeId, version_id: VersionId) -> None:
    """The version is wanted on the node; whether it is there is another fact."""
    _set(connection, node_id, version_id, desired=ReplicaDesired.PRESENT, observed=ReplicaObserved.FILLING, pinned=False)


def is_desired(connection: Connection, node_id: NodeId, version_id: VersionId) -> bool:
    """Return whether the version is wanted on the node."""
    here = (replica.c.node_id == node_id) & (replica.c.version_id == version_id)
    return connection.execute(select(replica.c.desired).where(here)).scalar_one_or_none() == ReplicaDesired.PRESENT


def observe(
    connection: Connection, node_id: NodeId, version_id: VersionId, observed: ReplicaObserved, reason: str | None = None
) -> None:
    verified = {"verified_at": now(connection), "attempts": 0, "next_try": None} if observed == ReplicaObserved.PRESENT else {}
    _set(
        connection,
        node_id,
        version_id,
        desired=ReplicaDesired.PRESENT,
        observed=observed,
        reason=reason,
        pinned=False,
        **verified,
    )


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a replica saw, beside what was recorded `before`; the reason for one that is absent."""

    version_id: VersionId
    before: ReplicaObserved
    observed: ReplicaObserved
    reason: str | None


def observe_changes(connection: Connection, node_id: NodeId, changes: Collection[Seen]) -> None:
    """Record what was seen, but of a replica of which somebody recorded something else meanwhile."""
    for observed in (ReplicaObserved.PRESENT, ReplicaObserved.ABSENT):
        rows = [
            {"number": one.version_id, "old": one.before, "why": one.reason}
            for one in sorted(changes, key=lambda one: one.version_id)
            if one.observed == observed
        ]
        as_before = (replica.c.version_id == bindparam("number")) & (replica.c.observed == bindparam("old"))
        verified = {"verified_at": now(connection)} if observed == ReplicaObserved.PRESENT else {}
        if rows:
            changed = update(replica).where(replica.c.node_id == node_id, as_before)
            connection.execute(changed.values(observed=observed, reason=bindparam("why"), **verified), rows)


def forget_version(connection: Connection, version_id: VersionId) -> None:
    connection.execute(delete(replica).where(replica.c.version_id == version_id))


def of_version(connection: Connection, version_id: VersionId) -> list[Replica]:
    rows = connection.execute(
        select(node.c.name, replica).join(node, replica.c.node_id == node.c.id).where(replica.c.version_id == version_id)
    )
    return [
        Replica(NodeName(r.name), ReplicaDesired(r.desired), ReplicaObserved(r.observed), r.verified_at, r.reason) for r in rows
    ]


def pinned(connection: Connection, version_ids: Collection[VersionId]) -> list[tuple[VersionId, str]]:
    """The replicas of these versions that someone pinned: the version, and the replica in words."""
    rows = connection.execute(
        select(replica.c.version_id, node.c.name)
        .join(replica, replica.c.node_id == node.c.id)
        .where(replica.c.version_id.in_(version_ids), replica.c.pinned)
    )
    return [(row.version_id, f"a pinned replica on {row.name}") for row in rows]


def kept(connection: Connection, node_id: NodeId) -> list[Kept]:
    """Every replica on the node that is there or being filled: for the node's own upkeep, whoever owns it."""
    rows = connection.execute(
        select(
            replica,
            version.c.name,
            version.c.image,
            model.c.name.label("model_name"),
            project.c.name.label("owner"),
            image.c.size,
        )
        .join(version, replica.c.version_id == version.c.id)
        .join(model, version.c.model_id == model.c.id)
        .join(project, model.c.project_id == project.c.id)
        .join(image, version.c.image == image.c.digest)
        .where(replica.c.node_id == node_id, replica.c.observed.in_((ReplicaObserved.PRESENT, ReplicaObserved.FILLING)))
    ).all()
    users: dict[VersionId, list[str]] = {}
    mounted = select(mount.c.version_id, instance.c.name).join(instance, mount.c.instance_id == instance.c.id)
    for row in connection.execute(
        mounted.where(instance.c.node_id == node_id, instance.c.state.in_((InstanceState.STARTING, InstanceState.READY)))
    ):
        users.setdefault(row.version_id, []).append(f"instance {row.name}")
    found = []
    for row in rows:
        why = [*users.get(row.version_id, []), *(["pinned"] if row.pinned else [])]
        why += ["being filled"] if row.observed == ReplicaObserved.FILLING else []
        ref = str(ModelRef.of_version(ProjectName(row.owner), ModelName(row.model_name), Tag(row.name)))
        found.append(Kept(row.version_id, ref, Digest.parse(row.image), row.size, row.last_use or 0.0, ", ".join(why)))
    return found


def is_needed(connection: Connection, node_id: NodeId, digest: Digest) -> bool:
    """Whether the node has to have the image: a version that has it is there, being filled, or served by an instance."""
    has_image = version.c.image == str(digest)
    return any(connection.execute(found.where(has_image).limit(1)).first() is not None for found in _needed(node_id))


def needed(connection: Connection, node_id: NodeId) -> set[Digest] | None:
    """Return every image that the node has to have; None if the image of one of these versions is lost, and so not known."""
    images = {row.image for found in _needed(node_id) for row in connection.execute(found)}
    return None if None in images else {Digest.parse(named) for named in images}


def _needed(node_id: NodeId) -> tuple[Select[tuple[str | None]], Select[tuple[str | None]]]:
    """The images of the versions that are on the node or being filled, and of those that its instances serve."""
    wanted = (
        select(version.c.image)
        .join(replica, replica.c.version_id == version.c.id)
        .where(replica.c.node_id == node_id, replica.c.observed.in_((ReplicaObserved.PRESENT, ReplicaObserved.FILLING)))
    )
    served = (
        select(version.c.image)
        .join(mount, mount.c.version_id == version.c.id)
        .join(instance, mount.c.instance_id == instance.c.id)
        .where(instance.c.node_id == node_id, instance.c.state.in_((InstanceState.STARTING, InstanceState.READY)))
    )
    return wanted, served


def require(connection: Connection, node_id: NodeId, target: Version) -> Kept:
    """The version's replica on the node. Raises NoReplica."""
    for one in kept(connection, node_id):
        if one.version_id == target.id:
            return one
    raise NoReplica(what=target.ref)


def release(connection: Connection, node_id: NodeId, version_id: VersionId, reason: str) -> None:
    """The replica is not wanted on the node any more."""
    here = (replica.c.node_id == node_id) & (replica.c.version_id == version_id)
    connection.execute(
        update(replica).where(here).values(desired=ReplicaDesired.ABSENT, observed=ReplicaObserved.ABSENT, reason=reason)
    )


def budget(connection: Connection, node_id: NodeId) -> int | None:
    """Bytes that the node's replicas may take; None for no limit."""
    found = connection.execute(select(node.c.budget).where(node.c.id == node_id)).scalar_one()
    return int(found) if found is not None else None


def set_budget(connection: Connection, node_id: NodeId, size: int | None) -> None:
    connection.execute(update(node).where(node.c.id == node_id).values(budget=size))


def pin(connection: Connection, node_id: NodeId, target: Version, *, pinned: bool) -> None:
    """The replica is never evicted, or may be again. Raises NoReplica."""
    here = (replica.c.node_id == node_id) & (replica.c.version_id == target.id) & (replica.c.observed == ReplicaObserved.PRESENT)
    if connection.execute(update(replica).where(here).values(pinned=pinned)).rowcount == 0:
        raise NoReplica(what=target.ref)


def is_pinned(connection: Connection, node_id: NodeId, target: Version) -> bool:
    here = (replica.c.node_id == node_id) & (replica.c.version_id == target.id) & (replica.c.observed == ReplicaObserved.PRESENT)
    return connection.execute(select(replica.c.pinned).where(here)).scalar_one_or_none() is True


def record_filled(connection: Connection, node_id: NodeId, version_id: VersionId) -> None:
    """The replica is on the node, seen and used just now."""
    clock = now(connection)
    seen = {"desired": ReplicaDesired.PRESENT, "observed": ReplicaObserved.PRESENT, "verified_at": clock, "reason": None}
    _set(connection, node_id, version_id, **seen, last_use=clock, pinned=False)


def use(connection: Connection, node_id: NodeId, version_id: VersionId) -> bool:
    """Someone uses the replica from now on: eviction goes by this. False if it is not recorded as being on the node."""
    here = (replica.c.node_id == node_id) & (replica.c.version_id == version_id)
    present = (replica.c.desired == ReplicaDesired.PRESENT) & (replica.c.observed == ReplicaObserved.PRESENT)
    clock = now(connection)
    seen = update(replica).where(here, present).values(last_use=clock, verified_at=clock)
    return connection.execute(seen).rowcount == 1


def observed_on(connection: Connection, node_id: NodeId) -> dict[VersionId, tuple[ReplicaObserved, bool]]:
    """By version: what was last observed of its replica on the node, and whether a run fills it now."""
    filling = being_filled(connection, node_id, version.c.image)
    rows = connection.execute(
        select(replica.c.version_id, replica.c.observed, filling.label("filling"))
        .join(version, replica.c.version_id == version.c.id)
        .where(replica.c.node_id == node_id)
    )
    return {row.version_id: (ReplicaObserved(row.observed), bool(row.filling)) for row in rows}


def _set(connection: Connection, node_id: NodeId, version_id: VersionId, **values: object) -> None:
    row = insert_into(connection, replica).values(node_id=node_id, version_id=version_id, **values)
    changed = {key: row.excluded[key] for key in values if key != "pinned"}
    connection.execute(row.on_conflict_do_update(index_elements=[replica.c.node_id, replica.c.version_id], set_=changed))
