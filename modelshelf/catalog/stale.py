"""Which versions a cleaning policy would remove: decided by the database, in one query whatever their number."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import String, and_, cast, exists, func, literal, or_, select
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import now
from modelshelf.catalog.tables import alias, lease, model, mount, project, replica, template_model, version
from modelshelf.names import ModelName, ModelRef, ProjectName, Tag

_DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What is kept: the newest `keep` ready versions of each model, what is younger than `days`, and all that is referred to."""

    keep: int = 2
    days: float = 30.0
    at_most: int = 500
    """Versions in one run; the rest waits for the next."""


@dataclass(frozen=True, slots=True)
class Stale:
    """A version that the policy does not keep. `age` in days."""

    version_id: int
    ref: ModelRef
    state: str
    image: str | None
    age: float


def stale(connection: Connection, asking: ProjectName, policy: Policy) -> list[Stale]:
    """Versions of the project that nothing refers to, oldest first: ready ones beyond the policy, unfinished ones that lie."""
    newest_first = func.row_number().over(partition_by=version.c.model_id, order_by=version.c.ready_at.desc())
    ready = (
        select(version.c.id, newest_first.label("rank"))
        .join(model, version.c.model_id == model.c.id)
        .join(project, model.c.project_id == project.c.id)
        .where(version.c.state == "ready", project.c.name == str(asking))
        .subquery()
    )
    since = func.coalesce(version.c.ready_at, version.c.created_at)
    age = (now(connection) - since) / _DAY
    importing = select(lease.c.name).where(
        lease.c.name == literal("import ") + cast(version.c.id, String), lease.c.expires > now(connection)
    )
    referred = or_(
        exists(select(mount.c.version_id).where(mount.c.version_id == version.c.id)),
        exists(select(template_model.c.version_id).where(template_model.c.version_id == version.c.id)),
        exists(select(alias.c.version_id).where(alias.c.version_id == version.c.id)),
        exists(select(replica.c.version_id).where(replica.c.version_id == version.c.id, replica.c.pinned)),
        exists(importing),
    )
    beyond = and_(version.c.state == "ready", ready.c.rank > policy.keep)
    left_lying = version.c.state.in_(("registered", "importing", "failed"))
    rows = connection.execute(
        select(version.c.id, version.c.name, version.c.state, version.c.image, model.c.name.label("model_name"), age.label("age"))
        .join(model, version.c.model_id == model.c.id)
        .join(project, model.c.project_id == project.c.id)
        .outerjoin(ready, ready.c.id == version.c.id)
        .where(project.c.name == str(asking), or_(beyond, left_lying), age >= policy.days, ~referred)
        .order_by(since)
        .limit(policy.at_most)
    )
    owner = None if str(asking) == "default" else asking
    return [
        Stale(row.id, ModelRef(ModelName(row.model_name), Tag(row.name), project=owner), row.state, row.image, float(row.age))
        for row in rows
    ]
