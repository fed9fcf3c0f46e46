"""What is going on and what happened: plans, progress and events, in text that outlives what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import insert_into, now
from modelshelf.catalog.tables import event, plan, progress
from modelshelf.names import ProjectName


class EventKind(StrEnum):
    """What happened to the subject of an event."""

    VERSION_READY = "version.ready"
    VERSION_MARKED = "version.marked"
    VERSION_DAMAGED = "version.damaged"
    VERSION_DELETED = "version.deleted"
    INSTANCE_READY = "instance.ready"
    INSTANCE_STOPPED = "instance.stopped"
    INSTANCE_DELETED = "instance.deleted"
    MODEL_CATEGORY = "model.category"
    TEMPLATE_REVISED = "template.revised"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, in bytes. Samples of one stage never fall."""

    stage: str
    done: int
    total: int


def record_event(
    connection: Connection, asking: ProjectName, who: str, what: EventKind, subject: str, detail: str | None = None
) -> None:
    connection.execute(
        insert(event).values(at=now(connection), project=str(asking), who=who, what=what, subject=subject, detail=detail)
    )


def record_plan(connection: Connection, run: str, content: dict[str, Any]) -> None:
    """The run does what this says and nothing else. A run that is tried again writes its plan again."""
    row = insert_into(connection, plan).values(run=run, at=now(connection), content=content)
    changed = {"at": row.excluded.at, "content": row.excluded.content}
    connection.execute(row.on_conflict_do_update(index_elements=[plan.c.run], set_=changed))


def get_plan(connection: Connection, run: str) -> dict[str, Any] | None:
    found = connection.execute(select(plan.c.content).where(plan.c.run == run)).scalar_one_or_none()
    return dict(found) if found is not None else None


def record_progress(connection: Connection, run: str, sample: Progress) -> None:
    row = insert_into(connection, progress).values(
        run=run, at=now(connection), stage=sample.stage, done=sample.done, total=sample.total
    )
    most = func.max if connection.dialect.name == "sqlite" else func.greatest
    changed = {
        "at": row.excluded.at,
        "stage": row.excluded.stage,
        "done": most(progress.c.done, row.excluded.done),
        "total": row.excluded.total,
    }
    connection.execute(row.on_conflict_do_update(index_elements=[progress.c.run], set_=changed))


def get_progress(connection: Connection, run: str) -> Progress | None:
    row = connection.execute(select(progress).where(progress.c.run == run)).one_or_none()
    return Progress(row.stage, row.done, row.total) if row is not None else None
