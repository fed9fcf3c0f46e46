"""Which versions a cleaning policy would remove: decided by the database, in one query whatever their number."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import and_, exists, func, or_, select
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import now
from modelshelf.catalog.ids import VersionId
from modelshelf.catalog.leases import being_imported
from modelshelf.catalog.tables import alias, model, mount, project, replica, template_model, version
from modelshelf.names import ModelName, ModelRef, ProjectName, Tag
from modelshelf.states import VersionState

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

    version_id: VersionId
    ref: ModelRef
    state: VersionState
    image: str | None
    age: float


def stale(connection: Connection, asking: ProjectName, policy: Policy) -> list[Stale]:
    """Versions of the project that nothing refers to, oldest first: ready ones beyond the policy, unfinished ones that lie."""
    since = func.coalesce(version.c.ready_at, version.c.created_at)
    newest_first = func.row_number().over(partition_by=(version.c.model_id, version.c.state), order_by=since.desc())
    of_project = (
        select(version.c.id, version.c.name, version.c.state, version.c.image, model.c.name.label("model_name"))
        .add_columns(since.label("since"), newest_first.label("rank"))
        .join(model, version.c.model_id == model.c.id)
        .join(project, model.c.project_id == project.c.id)
        .where(project.c.name == str(asking))
        .subquery()
    )
    one = of_project.c
    age = (now(connection) - one.since) / _DAY
    referred = or_(
        exists(select(mount.c.version_id).where(mount.c.version_id == one.id)),
        exists(select(template_model.c.version_id).where(template_model.c.version_id == one.id)),
        exists(select(alias.c.version_id).where(alias.c.version_id == one.id)),
        exists(select(replica.c.version_id).where(replica.c.version_id == one.id, replica.c.pinned)),
        being_imported(connection, one.id),
    )
    beyond = and_(one.state == VersionState.READY, one.rank > policy.keep)
    left_lying = one.state.in_((VersionState.REGISTERED, VersionState.IMPORTING, VersionState.FAILED))
    rows = connection.execute(
        select(of_project, age.label("age"))
        .where(or_(beyond, left_lying), age >= policy.days, ~referred)
        .order_by(one.since)
        .limit(policy.at_most)
    )
    return [
        Stale(
            row.id,
            ModelRef.of_version(asking, ModelName(row.model_name), Tag(row.name)),
            VersionState(row.state),
            row.image,
            float(row.age),
        )
        for row in rows
    ]
