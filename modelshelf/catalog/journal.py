"""What is going on and what happened: plans, progress and events, in text that outlives what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, func, insert, literal, or_, select, union_all
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import insert_into, now
from modelshelf.catalog.tables import alias_move, event, plan, progress
from modelshelf.names import ModelRef, ProjectName

_LETTERS = 500


class EventKind(StrEnum):
    """What happened to the subject of an event."""

    VERSION_READY = "version.ready"
    VERSION_FAILED = "version.failed"
    VERSION_MARKED = "version.marked"
    VERSION_DAMAGED = "version.damaged"
    VERSION_DELETED = "version.deleted"
    INSTANCE_READY = "instance.ready"
    INSTANCE_FAILED = "instance.failed"
    INSTANCE_STOPPED = "instance.stopped"
    INSTANCE_DELETED = "instance.deleted"
    MODEL_CATEGORY = "model.category"
    TEMPLATE_REVISED = "template.revised"
    TEMPLATE_DELETED = "template.deleted"
    REPLICA_PINNED = "replica.pinned"
    REPLICA_UNPINNED = "replica.unpinned"
    REPLICA_EVICTED = "replica.evicted"
    ALIAS_MOVED = "alias.moved"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, in bytes. Samples of one stage never fall."""

    stage: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Event:
    """What happened (`version.ready`, `instance.stopped`), `at` seconds since 1970, and to which of them."""

    at: float
    who: str
    what: str
    subject: str
    detail: str


def record_event(
    connection: Connection, asking: ProjectName, who: str, what: EventKind, subject: str, detail: str | None = None
) -> None:
    """Record who did what to which thing of the project. What is longer than a line is cut."""
    row = {"project": str(asking), "who": who[:_LETTERS], "what": what, "subject": subject, "detail": (detail or "")[:_LETTERS]}
    connection.execute(insert(event).values(at=now(connection), **row))


def history(connection: Connection, asking: ProjectName, ref: ModelRef | None, limit: int) -> list[Event]:
    """Return the last events of the project, moves of aliases included, newest first; of a model or a version if one is named.

    To a model belong the instances that served it, too.
    """
    change = func.coalesce(alias_move.c.before, "nothing") + " before, " + func.coalesce(alias_move.c.after, "nothing") + " now"
    moves = select(
        alias_move.c.id, alias_move.c.at, alias_move.c.who, literal(EventKind.ALIAS_MOVED.value).label("what"),
        (alias_move.c.model + ":" + alias_move.c.alias).label("subject"), change.label("detail"),
    ).where(alias_move.c.project == str(asking))  # fmt: skip
    events = select(event.c.id, event.c.at, event.c.who, event.c.what, event.c.subject, event.c.detail).where(
        event.c.project == str(asking)
    )
    both = union_all(events, moves).subquery()
    query = select(both).order_by(both.c.at.desc(), both.c.id.desc()).limit(limit)
    if ref is not None:
        query = query.where(_about(asking, ref, both.c.what, both.c.subject, both.c.detail))
    return [Event(row.at, row.who, row.what, row.subject, row.detail or "") for row in connection.execute(query)]


def _about(
    asking: ProjectName, ref: ModelRef, what: ColumnElement[str], subject: ColumnElement[str], detail: ColumnElement[str]
) -> ColumnElement[bool]:
    """Return whether an event is about the model, or about one version or alias of it."""
    conditions = []
    for front in {"", "" if asking.text == "default" else f"{asking}/"}:
        named = f"{front}{ref.model}:"
        if ref.tag is not None:
            is_subject = subject == f"{named}{ref.tag}"
            is_served = (detail + ",").contains(f" {named}{ref.tag},", autoescape=True)
        else:
            is_subject = or_(subject == f"{front}{ref.model}", subject.startswith(named, autoescape=True))
            is_served = detail.contains(f" {named}", autoescape=True)
        of_model = ~what.startswith("instance.") & ~what.startswith("template.")
        conditions += [of_model & is_subject, what.startswith("instance.") & is_served]
    return or_(*conditions)


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
