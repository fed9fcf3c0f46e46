"""Projects, and what each may see. Every query of models goes through `visible_to`."""

from __future__ import annotations

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import insert_into
from modelshelf.catalog.tables import model, model_share, project
from modelshelf.names import ProjectName


def project_id(connection: Connection, name: ProjectName) -> int:
    """The project's id; the project is made if it is not there."""
    connection.execute(insert_into(connection, project).values(name=str(name)).on_conflict_do_nothing())
    return int(connection.execute(select(project.c.id).where(project.c.name == str(name))).scalar_one())


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
