"""Projects, and what each may see. Every query of models goes through `visible_to`."""

from __future__ import annotations

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import insert_into
from modelshelf.catalog.tables import model, model_share, project
from modelshelf.names import ProjectName


def project_id(connection: Connection, name: ProjectName) -> int:
    """The project's id; the project is made if it is not there."""
    found = select(project.c.id).where(project.c.name == str(name))
    there = connection.execute(found).scalar_one_or_none()
    return int(there) if there is not None else make(connection, name)


def make(connection: Connection, name: ProjectName) -> int:
    """Make the project, unless another run was quicker; its id."""
    new = insert_into(connection, project).values(name=str(name)).on_conflict_do_nothing().returning(project.c.id)
    made = connection.execute(new).scalar_one_or_none()
    return int(made) if made is not None else project_id(connection, name)


def visible_to(asking: ProjectName) -> ColumnElement[bool]:
    """True for a row of `model` that the project owns, that is shared with it, or that is public."""
    own = select(project.c.id).where(project.c.name == str(asking)).scalar_subquery()
    shared = (
        select(model_share.c.model_id)
        .where(model_share.c.model_id == model.c.id, model_share.c.project_id == own)
        .correlate(model)
        .exists()
    )
    return or_(model.c.project_id == own, model.c.visibility == "public", (model.c.visibility == "shared") & shared)
