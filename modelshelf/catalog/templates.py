"""Templates: an engine, its settings and the versions that it serves. Revisions are immutable; the newest one counts.

An instance has a template of its own, which no person can name: what it was started with is kept there, revision by
revision, and what is switched can be switched back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, delete, exists, func, insert, select
from sqlalchemy.engine import Connection

from modelshelf.catalog.ids import RevisionId, VersionId
from modelshelf.catalog.journal import EventKind, record_event
from modelshelf.catalog.projects import project_id
from modelshelf.catalog.tables import image, instance, model, place, project, template, template_model, template_revision, version
from modelshelf.catalog.versions import Version
from modelshelf.errors import NoSuchTemplate, StillInUse
from modelshelf.names import InstanceName, ModelName, ModelRef, ProjectName, ServedName, Tag, TemplateName

_OWN = "instance/"


@dataclass(frozen=True, slots=True)
class Serving:
    """One version in a template, and the name under which it is served."""

    version_id: VersionId
    ref: ModelRef
    served_name: ServedName
    category: str
    chat_template: bool
    """The weights carry a template for conversations."""


@dataclass(frozen=True, slots=True)
class Template:
    """One revision of a template."""

    revision_id: RevisionId
    name: str
    number: int
    engine: str
    settings: Mapping[str, Any]
    serves: tuple[Serving, ...]


def own_name(name: InstanceName) -> str:
    """The name of an instance's own template: no template that a person names is called so."""
    return f"{_OWN}{name}"


def write(
    connection: Connection,
    asking: ProjectName,
    name: TemplateName | str,
    *,
    engine: str,
    settings: Mapping[str, Any],
    serving: Sequence[tuple[Version, ServedName]],
    who: str,
) -> Template:
    """The newest revision says just this: the one there is, or a new one."""
    newest = connection.execute(_revisions(asking).where(template.c.name == str(name)).limit(1)).one_or_none()
    wanted = {(version.id, str(served)) for version, served in serving}
    if newest is not None and newest.engine == engine and newest.settings == dict(settings):
        there = serves(connection, [newest.id])[newest.id]
        if {(one.version_id, str(one.served_name)) for one in there} == wanted:
            return _template(newest, there)
    if newest is None:
        new = insert(template).values(project_id=project_id(connection, asking), name=str(name)).returning(template.c.id)
        template_id, number = connection.execute(new).scalar_one(), 1
    else:
        template_id, number = newest.template_id, newest.number + 1
    values = {"template_id": template_id, "number": number, "engine": engine, "settings": dict(settings)}
    revision = connection.execute(insert(template_revision).values(values).returning(template_revision.c.id)).scalar_one()
    rows = [{"revision_id": revision, "version_id": id, "served_name": served} for id, served in sorted(wanted)]
    connection.execute(insert(template_model), rows)
    record_event(connection, asking, who, EventKind.TEMPLATE_REVISED, str(name), f"revision {number}")
    return Template(revision, str(name), number, engine, dict(settings), _served(serving))


def _served(serving: Sequence[tuple[Version, ServedName]]) -> tuple[Serving, ...]:
    """Return what `serves` reads of a revision that serves these."""
    return tuple(
        Serving(target.id, target.ref, name, target.category, bool(target.facts.chat_template))
        for target, name in sorted(serving, key=lambda pair: str(pair[1]))
    )


def get(connection: Connection, asking: ProjectName, name: TemplateName | str, number: int | None = None) -> Template:
    """A revision, the newest unless `number` is given. Raises NoSuchTemplate."""
    query = _revisions(asking).where(template.c.name == str(name)).limit(1)
    if number is not None:
        query = query.where(template_revision.c.number == number)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NoSuchTemplate(template=name if number is None else f"{name} with a revision {number}", project=asking)
    return _template(row, serves(connection, [row.id])[row.id])


def earlier(
    connection: Connection, asking: ProjectName, name: TemplateName | str, number: int, limit: int = 500
) -> list[Template]:
    """Return up to `limit` revisions before that number, the newest first; those that were forgotten are left out."""
    query = _revisions(asking).where(template.c.name == str(name), template_revision.c.number < number).limit(limit)
    rows = connection.execute(query).all()
    serving = serves(connection, [row.id for row in rows])
    return [_template(row, serving[row.id]) for row in rows]


def page(connection: Connection, asking: ProjectName, limit: int = 500) -> list[Template]:
    """The newest revision of each template that someone named, by name."""
    newest = select(func.max(template_revision.c.id)).group_by(template_revision.c.template_id)
    query = _revisions(asking).where(template_revision.c.id.in_(newest), ~template.c.name.startswith(_OWN))
    rows = connection.execute(query.order_by(None).order_by(template.c.name).limit(limit)).all()
    serving = serves(connection, [row.id for row in rows])
    return [_template(row, serving[row.id]) for row in rows]


def serves(connection: Connection, revisions: Collection[RevisionId]) -> dict[RevisionId, tuple[Serving, ...]]:
    """What each revision serves, by served name: also what its project may not see any more, since it was put there."""
    found: dict[RevisionId, tuple[Serving, ...]] = dict.fromkeys(revisions, ())
    rows = connection.execute(
        select(
            template_model,
            version.c.name,
            model.c.name.label("model_name"),
            model.c.category,
            project.c.name.label("owner"),
            image.c.facts,
            place.c.facts.label("place_facts"),
        )
        .join(version, template_model.c.version_id == version.c.id)
        .join(model, version.c.model_id == model.c.id)
        .join(project, model.c.project_id == project.c.id)
        .outerjoin(image, version.c.image == image.c.digest)
        .outerjoin(place, version.c.in_place & (place.c.version_id == version.c.id))
        .where(template_model.c.revision_id.in_(revisions))
        .order_by(template_model.c.served_name)
    )
    for row in rows:
        ref = ModelRef.of_version(ProjectName(row.owner), ModelName(row.model_name), Tag(row.name))
        talks = bool((row.facts or row.place_facts or {}).get("chat_template"))
        found[row.revision_id] += (Serving(row.version_id, ref, ServedName(row.served_name), row.category, talks),)
    return found


def using(connection: Connection, version_ids: Collection[VersionId]) -> list[tuple[VersionId, str]]:
    """The templates with a revision that serves one of these: the version, and the template in words.

    Instances name themselves.
    """
    rows = connection.execute(
        select(template_model.c.version_id, template.c.name, func.max(template_revision.c.number).label("number"))
        .join(template_revision, template_revision.c.template_id == template.c.id)
        .join(template_model, template_model.c.revision_id == template_revision.c.id)
        .where(template_model.c.version_id.in_(version_ids))
        .where(~(template.c.name.startswith(_OWN) & template_revision.c.id.in_(select(instance.c.revision_id))))
        .group_by(template_model.c.version_id, template.c.name)
    )
    return [
        (
            row.version_id,
            f"the past of instance {(past := row.name.removeprefix(_OWN))} (`modelshelf switch {past} --forget` lets it go)"
            if row.name.startswith(_OWN)
            else f"template {row.name} (revision {row.number})",
        )
        for row in rows
    ]


def forget_past(connection: Connection, asking: ProjectName, name: TemplateName | str) -> int:
    """Only the newest revision is left, and those that an instance runs; how many went. Nothing can be switched back to them."""
    newest = get(connection, asking, name)
    own = select(template_revision.c.template_id).where(template_revision.c.id == newest.revision_id)
    past = (
        select(template_revision.c.id)
        .where(template_revision.c.template_id.in_(own), template_revision.c.id != newest.revision_id)
        .where(~exists(select(instance.c.id).where(instance.c.revision_id == template_revision.c.id)))
    )
    gone = [row.id for row in connection.execute(past)]
    connection.execute(delete(template_model).where(template_model.c.revision_id.in_(gone)))
    connection.execute(delete(template_revision).where(template_revision.c.id.in_(gone)))
    return len(gone)


def remove(connection: Connection, asking: ProjectName, name: TemplateName | str) -> None:
    """The template and its revisions are gone. Raises StillInUse if an instance runs one of them."""
    of_it = select(template.c.id).join(project).where(project.c.name == str(asking), template.c.name == str(name))
    revisions = select(template_revision.c.id).where(template_revision.c.template_id.in_(of_it))
    running = connection.execute(select(instance.c.name).where(instance.c.revision_id.in_(revisions))).all()
    if running:
        raise StillInUse(what=f"template {name}", holders=", ".join(f"instance {row.name}" for row in running))
    ids = [row.id for row in connection.execute(of_it)]
    connection.execute(delete(template_model).where(template_model.c.revision_id.in_(revisions)))
    connection.execute(delete(template_revision).where(template_revision.c.template_id.in_(ids)))
    connection.execute(delete(template).where(template.c.id.in_(ids)))


def _revisions(asking: ProjectName) -> Select[tuple[Any, ...]]:
    return (
        select(template_revision, template.c.name)
        .join(template, template_revision.c.template_id == template.c.id)
        .join(project, template.c.project_id == project.c.id)
        .where(project.c.name == str(asking))
        .order_by(template_revision.c.number.desc())
    )


def _template(row: Row[tuple[Any, ...]], serving: tuple[Serving, ...]) -> Template:
    return Template(row.id, row.name, row.number, row.engine, row.settings, serving)
