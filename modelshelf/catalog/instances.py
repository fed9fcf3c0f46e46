"""Templates and instances: what is to run, and what was seen running. Revisions are immutable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, delete, exists, func, insert, select, update
from sqlalchemy.engine import Connection

from modelshelf.catalog import journal, versions
from modelshelf.catalog.database import now
from modelshelf.catalog.leases import holding
from modelshelf.catalog.projects import project_id
from modelshelf.catalog.tables import (
    instance,
    mount,
    node,
    project,
    template,
    template_model,
    template_revision,
)
from modelshelf.catalog.versions import Version
from modelshelf.errors import NoSuchInstance, StillInUse
from modelshelf.names import InstanceName, ModelRef, NodeName, ProjectName, ServedName


@dataclass(frozen=True, slots=True)
class Serving:
    """One version in a template, and the name under which it is served."""

    version_id: int
    ref: ModelRef
    served_name: ServedName


@dataclass(frozen=True, slots=True)
class Instance:
    """One instance as its row says it. `stages` are seconds, by stage, of its last start."""

    id: int
    project: ProjectName
    name: InstanceName
    node: NodeName
    engine: str
    settings: Mapping[str, Any]
    serves: tuple[Serving, ...]
    state: str
    reason: str | None
    label: str
    bind: str
    port: int
    process: Mapping[str, Any] | None
    command: tuple[str, ...]
    notes: tuple[str, ...]
    stages: Mapping[str, float]
    created_at: float
    ready_at: float | None


def write_template(
    connection: Connection,
    asking: ProjectName,
    name: str,
    *,
    engine: str,
    settings: Mapping[str, Any],
    serves: Sequence[tuple[Version, ServedName]],
) -> int:
    """The id of the template's newest revision, which says just this: the one there is, or a new one."""
    owner = project_id(connection, asking)
    here = (template.c.project_id == owner) & (template.c.name == name)
    template_id = connection.execute(select(template.c.id).where(here)).scalar_one_or_none()
    if template_id is None:
        new = insert(template).values(project_id=owner, name=name).returning(template.c.id)
        template_id = connection.execute(new).scalar_one()
    newest = connection.execute(
        select(template_revision)
        .where(template_revision.c.template_id == template_id)
        .order_by(template_revision.c.number.desc())
        .limit(1)
    ).one_or_none()
    wanted = {(version.id, str(served)) for version, served in serves}
    if newest is not None and newest.engine == engine and newest.settings == dict(settings):
        models = select(template_model).where(template_model.c.revision_id == newest.id)
        if {(row.version_id, row.served_name) for row in connection.execute(models)} == wanted:
            return int(newest.id)
    number = newest.number + 1 if newest is not None else 1
    values = {"template_id": template_id, "number": number, "engine": engine, "settings": dict(settings)}
    revision = connection.execute(insert(template_revision).values(values).returning(template_revision.c.id)).scalar_one()
    rows = [{"revision_id": revision, "version_id": id, "served_name": served} for id, served in sorted(wanted)]
    connection.execute(insert(template_model), rows)
    return int(revision)


def record(
    connection: Connection, asking: ProjectName, name: InstanceName, *, revision_id: int, node_id: int, label: str,
    bind: str, port: int,
) -> Instance:  # fmt: skip
    """The instance is starting from that revision; it is new, or one that does not run is started again."""
    owner = project_id(connection, asking)
    values = {
        "revision_id": revision_id, "node_id": node_id, "state": "starting", "reason": None, "bind": bind, "port": port,
        "label": label, "process": None, "command": None, "notes": [], "stages": None, "ready_at": None,
    }  # fmt: skip
    here = (instance.c.project_id == owner) & (instance.c.name == str(name))
    instance_id = connection.execute(select(instance.c.id).where(here)).scalar_one_or_none()
    if instance_id is None:
        new = insert(instance).values(project_id=owner, name=str(name), created_at=now(connection), **values)
        instance_id = connection.execute(new.returning(instance.c.id)).scalar_one()
    else:
        connection.execute(update(instance).where(instance.c.id == instance_id).values(values))
        connection.execute(delete(mount).where(mount.c.instance_id == instance_id))
    models = select(template_model.c.version_id).where(template_model.c.revision_id == revision_id)
    rows = [
        {"instance_id": instance_id, "version_id": row.version_id, "desired": "mounted", "observed": "unknown"}
        for row in connection.execute(models)
    ]
    connection.execute(insert(mount), rows)
    return find(connection, asking, name)


def change(connection: Connection, instance_id: int, **values: Any) -> None:
    """Set columns of the instance's row: `state`, `reason`, `process`, `command`, `notes`, `port`, `stages`."""
    connection.execute(update(instance).where(instance.c.id == instance_id).values(**values))


def mark_ready(connection: Connection, asking: ProjectName, which: Instance, stages: Mapping[str, float], who: str) -> None:
    """It serves what it was started with: proven by a token, so its mounts are verified too."""
    clock = now(connection)
    change(connection, which.id, state="ready", reason=None, stages=dict(stages), ready_at=clock)
    connection.execute(update(mount).where(mount.c.instance_id == which.id).values(observed="mounted", verified_at=clock))
    journal.record_event(connection, asking, who, "instance.ready", str(which.name))


def find(connection: Connection, asking: ProjectName, name: InstanceName) -> Instance:
    rows = connection.execute(_instances(asking).where(instance.c.name == str(name))).all()
    if not rows:
        raise NoSuchInstance(instance=name, project=asking)
    return _instance(connection, asking, rows[0])


def page(connection: Connection, asking: ProjectName, limit: int = 500) -> list[Instance]:
    """Up to `limit` instances of the project, by name."""
    rows = connection.execute(_instances(asking).order_by(instance.c.name).limit(limit)).all()
    return [_instance(connection, asking, row) for row in rows]


def everywhere(connection: Connection, node_id: int) -> list[tuple[ProjectName, InstanceName]]:
    """The instances of every project on one node: for the node's own upkeep, shown to nobody."""
    rows = connection.execute(
        select(project.c.name.label("project_name"), instance.c.name)
        .join(project, instance.c.project_id == project.c.id)
        .where(instance.c.node_id == node_id)
    )
    return [(ProjectName(row.project_name), InstanceName(row.name)) for row in rows]


def remove(connection: Connection, asking: ProjectName, which: Instance, who: str) -> None:
    """The instance is gone, and with it the template that was written for it alone, if nothing else uses that."""
    revision = select(instance.c.revision_id).where(instance.c.id == which.id)
    revision_id = connection.execute(revision).scalar_one()
    connection.execute(delete(instance).where(instance.c.id == which.id))
    template_id = connection.execute(
        select(template_revision.c.template_id).where(template_revision.c.id == revision_id)
    ).scalar_one()
    revisions = select(template_revision.c.id).where(template_revision.c.template_id == template_id)
    used = exists(select(instance.c.id).where(instance.c.revision_id.in_(revisions)))
    own = select(template.c.name).where(template.c.id == template_id, template.c.name == str(which.name), ~used)
    if connection.execute(own).one_or_none() is not None:
        connection.execute(delete(template_model).where(template_model.c.revision_id.in_(revisions)))
        connection.execute(delete(template_revision).where(template_revision.c.template_id == template_id))
        connection.execute(delete(template).where(template.c.id == template_id))
    journal.record_event(connection, asking, who, "instance.deleted", str(which.name))


def require_unused(connection: Connection, target: Version) -> None:
    """Raise StillInUse, naming every holder of the version: instances, templates, a running import."""
    mounted = (
        select(project.c.name.label("project_name"), instance.c.name, instance.c.state)
        .join(mount, mount.c.instance_id == instance.c.id)
        .join(project, instance.c.project_id == project.c.id)
        .where(mount.c.version_id == target.id)
    )
    holders = [f"instance {row.name} of project {row.project_name} ({row.state})" for row in connection.execute(mounted)]
    used = (
        select(template.c.name, func.max(template_revision.c.number).label("number"))
        .join(template_revision, template_revision.c.template_id == template.c.id)
        .join(template_model, template_model.c.revision_id == template_revision.c.id)
        .where(template_model.c.version_id == target.id)
        .group_by(template.c.name)
    )
    holders += [f"template {row.name} (revision {row.number})" for row in connection.execute(used)]
    if (importing := holding(connection, target.lease)) is not None:
        holders.append(f"an import that runs now ({importing.says})")
    if holders:
        raise StillInUse(what=target.ref, holders=", ".join(holders))


def _instances(asking: ProjectName) -> Select[tuple[Any, ...]]:
    return (
        select(
            instance,
            node.c.name.label("node_name"),
            project.c.name.label("project_name"),
            template_revision.c.engine,
            template_revision.c.settings,
        )
        .select_from(instance.join(node).join(project, instance.c.project_id == project.c.id).join(template_revision))
        .where(project.c.name == str(asking))
    )


def _instance(connection: Connection, asking: ProjectName, row: Row[tuple[Any, ...]]) -> Instance:
    models = connection.execute(select(template_model).where(template_model.c.revision_id == row.revision_id)).all()
    serves = tuple(
        Serving(one.version_id, versions.get(connection, asking, one.version_id).ref, ServedName(one.served_name))
        for one in models
    )
    return Instance(
        id=row.id,
        project=ProjectName(row.project_name),
        name=InstanceName(row.name),
        node=NodeName(row.node_name),
        engine=row.engine,
        settings=row.settings,
        serves=serves,
        state=row.state,
        reason=row.reason,
        label=row.label,
        bind=row.bind,
        port=row.port,
        process=row.process,
        command=tuple(row.command or ()),
        notes=tuple(row.notes or ()),
        stages=row.stages or {},
        created_at=row.created_at,
        ready_at=row.ready_at,
    )
