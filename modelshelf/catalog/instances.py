"""Instances: what was started, from which template revision, and what was seen of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, delete, exists, insert, select, update
from sqlalchemy.engine import Connection

from modelshelf.addresses import base_url
from modelshelf.catalog import aliases, journal, replicas, templates
from modelshelf.catalog.database import insert_into, now
from modelshelf.catalog.ids import InstanceId, NodeId, VersionId
from modelshelf.catalog.journal import EventKind
from modelshelf.catalog.leases import LeaseName, holdings, instance_lease
from modelshelf.catalog.projects import project_id
from modelshelf.catalog.tables import (
    instance,
    model,
    mount,
    node,
    project,
    template_model,
    template_revision,
    version,
)
from modelshelf.catalog.templates import Serving, Template
from modelshelf.catalog.versions import Version
from modelshelf.errors import NoSuchInstance, StillInUse
from modelshelf.names import InstanceName, ModelName, NodeName, ProjectName
from modelshelf.states import InstanceDesired, InstanceState


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as its row says it. `stages` are seconds, by stage, of its last start."""

    id: InstanceId
    project: ProjectName
    name: InstanceName
    node: NodeName
    engine: str
    settings: Mapping[str, Any]
    revision: int
    """The number of its own template's revision that it runs."""
    serves: tuple[Serving, ...]
    state: InstanceState
    reason: str | None
    label: str
    bind: str
    port: int
    handle: str | None
    """Which engine it was, in its node's terms: a JSON object as text."""
    command: tuple[str, ...]
    notes: tuple[str, ...]
    stages: Mapping[str, float]
    created_at: float
    ready_at: float | None
    desired: InstanceDesired
    """`running` from the moment that it was ready until it is stopped, whatever became of its engine."""
    attempts: int
    """How often it was started again since it last ran steadily."""
    next_try: float | None

    @property
    def url(self) -> str:
        """The address at which a client on this machine reaches it."""
        return base_url(self.bind, self.port)

    @property
    def lease(self) -> LeaseName:
        """The name of the lease under which it is launched, switched and stopped."""
        return instance_lease(self.project, self.name)


def record(
    connection: Connection, asking: ProjectName, name: InstanceName, *, template: Template, node_id: NodeId, label: str,
    bind: str, port: int, also: Collection[VersionId] = (),
) -> Instance:  # fmt: skip
    """Record that the instance is starting from that revision: a new one, or one that does not run is started again.

    From now on it holds the versions that it serves, and those in `also`, until it is ready or recorded again.
    """
    values = {
        "revision_id": template.revision_id, "node_id": node_id, "state": InstanceState.STARTING, "reason": None, "bind": bind,
        "port": port,
        "label": label, "process": None, "command": None, "notes": [], "stages": None, "ready_at": None,
    }  # fmt: skip
    owner = select(project.c.id).where(project.c.name == str(asking)).scalar_subquery()
    here = (instance.c.project_id == owner) & (instance.c.name == str(name))
    instance_id = connection.execute(select(instance.c.id).where(here)).scalar_one_or_none()
    if instance_id is None:
        new = insert(instance).values(project_id=owner, name=str(name), created_at=now(connection), **values)
        instance_id = connection.execute(new.returning(instance.c.id)).scalar_one()
    else:
        connection.execute(update(instance).where(instance.c.id == instance_id).values(values))
        connection.execute(delete(mount).where(mount.c.instance_id == instance_id))
    made = _instance(connection.execute(_instances(asking).where(instance.c.id == instance_id)).one(), template.serves)
    hold(connection, made, using(made) | frozenset(also))
    return made


def hold(connection: Connection, which: Instance, version_ids: Collection[VersionId]) -> None:
    """Let the instance hold these versions too: their replicas are not evicted, and they are not deleted."""
    rows = [{"instance_id": which.id, "version_id": one} for one in sorted(version_ids)]
    connection.execute(insert_into(connection, mount).values(rows).on_conflict_do_nothing())


def held(connection: Connection, which: Instance) -> frozenset[VersionId]:
    """Return the versions that the instance holds: more than it serves, while a switch is not proven."""
    return frozenset(connection.execute(select(mount.c.version_id).where(mount.c.instance_id == which.id)).scalars())


def holding_more(connection: Connection, node_id: NodeId) -> frozenset[InstanceId]:
    """Return the instances on the node that hold more versions than they serve."""
    served = select(template_model.c.version_id).where(
        template_model.c.revision_id == instance.c.revision_id, template_model.c.version_id == mount.c.version_id
    )
    more = select(mount.c.instance_id).join(instance, mount.c.instance_id == instance.c.id)
    return frozenset(connection.execute(more.where(instance.c.node_id == node_id, ~exists(served))).scalars())


def hold_only_served(connection: Connection, which: Instance) -> None:
    """Let the instance hold no version but those that it serves."""
    connection.execute(delete(mount).where(mount.c.instance_id == which.id, mount.c.version_id.not_in(using(which))))


def change(connection: Connection, instance_id: InstanceId, **values: Any) -> None:
    """Set columns of the instance's row, by their names; `handle` is the column `process`."""
    if "handle" in values:  # the column is older than the word
        handle = values.pop("handle")
        values["process"] = json.loads(handle) if handle is not None else None
    connection.execute(update(instance).where(instance.c.id == instance_id).values(**values))


def mark_ready(connection: Connection, asking: ProjectName, which: Instance, stages: Mapping[str, float], who: str) -> Instance:
    """Record that the instance serves what it was started with, proven by an answer of each model; it holds nothing else.

    From now on it should run, until someone stops it.
    """
    hold_only_served(connection, which)
    change(
        connection,
        which.id,
        state=InstanceState.READY,
        reason=None,
        stages=dict(stages),
        ready_at=now(connection),
        desired=InstanceDesired.RUNNING,
    )
    served = ", ".join(str(one.ref) for one in which.serves)
    journal.record_event(connection, asking, who, EventKind.INSTANCE_READY, str(which.name), f"{which.engine} serves {served}")
    return _instance(connection.execute(_instances(asking).where(instance.c.id == which.id)).one(), which.serves)


def find(connection: Connection, asking: ProjectName, name: InstanceName) -> Instance:
    rows = connection.execute(_instances(asking).where(instance.c.name == str(name))).all()
    if not rows:
        raise NoSuchInstance(instance=name, project=asking)
    return _instance(rows[0], templates.serves(connection, [rows[0].revision_id])[rows[0].revision_id])


def using(there: Instance | None) -> frozenset[VersionId]:
    """The versions that an instance was started with: it may be started with them again whatever became of them."""
    return frozenset(one.version_id for one in there.serves) if there is not None else frozenset()


def lookup(connection: Connection, asking: ProjectName, name: InstanceName) -> Instance | None:
    """The instance of that name; None if there is none."""
    try:
        return find(connection, asking, name)
    except NoSuchInstance:
        return None


def page(connection: Connection, asking: ProjectName, limit: int = 500) -> list[Instance]:
    """Up to `limit` instances of the project, by name."""
    rows = connection.execute(_instances(asking).order_by(instance.c.name).limit(limit)).all()
    serving = templates.serves(connection, {row.revision_id for row in rows})
    return [_instance(row, serving[row.revision_id]) for row in rows]


def on_node(connection: Connection, node_id: NodeId) -> list[Instance]:
    """The instances of every project on one node: for the node's own upkeep, shown to nobody."""
    rows = connection.execute(_every().where(instance.c.node_id == node_id).order_by(instance.c.id)).all()
    serving = templates.serves(connection, {row.revision_id for row in rows})
    return [_instance(row, serving[row.revision_id]) for row in rows]


def labels(connection: Connection, node_id: NodeId) -> list[tuple[InstanceId, str]]:
    """Return the id and the label of each instance on the node."""
    return [(row.id, row.label) for row in connection.execute(select(instance).where(instance.c.node_id == node_id))]


def detach(connection: Connection, instance_id: InstanceId, label: str, reason: str) -> None:
    """The instance is stopped under a new label: the process that carries its old one belongs to another home."""
    change(
        connection,
        instance_id,
        label=label,
        state=InstanceState.STOPPED,
        reason=reason,
        handle=None,
        desired=InstanceDesired.STOPPED,
    )


def remove(connection: Connection, asking: ProjectName, which: Instance, who: str) -> None:
    """The instance is gone, and with it the template that was written for it alone."""
    connection.execute(delete(instance).where(instance.c.id == which.id))
    templates.remove(connection, asking, templates.own_name(which.name))
    journal.record_event(connection, asking, who, EventKind.INSTANCE_DELETED, str(which.name))


def running(connection: Connection, asking: ProjectName, name: ModelName) -> list[str]:
    """Return the instances, of whatever project, that are up or starting with a version of the project's own model."""
    rows = connection.execute(
        select(project.c.name.label("project_name"), instance.c.name)
        .join(project, instance.c.project_id == project.c.id)
        .where(
            instance.c.state.in_((InstanceState.STARTING, InstanceState.READY)),
            instance.c.id.in_(select(mount.c.instance_id).where(mount.c.version_id.in_(_of_model(connection, asking, name)))),
        )
        .order_by(instance.c.name)
    )
    return [row.name if row.project_name == str(asking) else f"{row.project_name}/{row.name}" for row in rows]


def _of_model(connection: Connection, asking: ProjectName, name: ModelName) -> Select[tuple[int]]:
    owner = project_id(connection, asking)
    return select(version.c.id).join(model).where(model.c.project_id == owner, model.c.name == str(name))


def require_unused(connection: Connection, target: Version) -> None:
    """Raise StillInUse, naming every holder of the version."""
    if found := holders(connection, target):
        raise StillInUse(what=target.ref, holders=", ".join(found))


def holders(connection: Connection, target: Version) -> list[str]:
    """Who counts on the version, in words: instances, templates, aliases that someone set, pinned replicas, a running import."""
    return holders_of(connection, [target])[target.id]


def holders_of(connection: Connection, targets: Collection[Version]) -> dict[VersionId, list[str]]:
    """Who counts on each of the versions, in words, by id."""
    ids = [target.id for target in targets]
    mounted = connection.execute(
        select(mount.c.version_id, project.c.name.label("project_name"), instance.c.name, instance.c.state)
        .join(mount, mount.c.instance_id == instance.c.id)
        .join(project, instance.c.project_id == project.c.id)
        .where(mount.c.version_id.in_(ids))
    )
    found: dict[VersionId, list[str]] = {number: [] for number in ids}
    for row in mounted:
        found[row.version_id].append(f"instance {row.name} of project {row.project_name} ({row.state})")
    for version_id, holder in (
        *templates.using(connection, ids),
        *aliases.held(connection, ids),
        *replicas.pinned(connection, ids),
    ):
        found[version_id].append(holder)
    importing = holdings(connection, {target.lease for target in targets})
    for target in targets:
        if (run := importing.get(target.lease)) is not None:
            found[target.id].append(f"an import that runs now ({run.says})")
    return found


def _instances(asking: ProjectName) -> Select[tuple[Any, ...]]:
    return _every().where(project.c.name == str(asking))


def _every() -> Select[tuple[Any, ...]]:
    return select(
        instance,
        node.c.name.label("node_name"),
        project.c.name.label("project_name"),
        template_revision.c.engine,
        template_revision.c.settings,
        template_revision.c.number,
    ).select_from(instance.join(node).join(project, instance.c.project_id == project.c.id).join(template_revision))


def _instance(row: Row[tuple[Any, ...]], serves: tuple[Serving, ...]) -> Instance:
    return Instance(
        id=row.id,
        project=ProjectName(row.project_name),
        name=InstanceName(row.name),
        node=NodeName(row.node_name),
        engine=row.engine,
        settings=row.settings,
        revision=row.number,
        serves=serves,
        state=InstanceState(row.state),
        reason=row.reason,
        label=row.label,
        bind=row.bind,
        port=row.port,
        handle=json.dumps(row.process, sort_keys=True) if row.process is not None else None,
        command=tuple(row.command or ()),
        notes=tuple(row.notes or ()),
        stages=row.stages or {},
        created_at=row.created_at,
        ready_at=row.ready_at,
        desired=InstanceDesired(row.desired),
        attempts=row.attempts,
        next_try=row.next_try,
    )
