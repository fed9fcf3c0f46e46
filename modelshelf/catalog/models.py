"""What is recorded of a model as such, and so of all its versions."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.engine import Connection

from modelshelf.catalog import journal
from modelshelf.catalog.journal import EventKind
from modelshelf.catalog.projects import project_id
from modelshelf.catalog.tables import model
from modelshelf.errors import NoSuchModel
from modelshelf.names import ModelName, ProjectName


def set_category(connection: Connection, asking: ProjectName, model_name: ModelName, category: str, *, who: str) -> None:
    """Give one of the project's own models another category. Raises NoSuchModel."""
    here = (model.c.project_id == project_id(connection, asking)) & (model.c.name == str(model_name))
    before = connection.execute(select(model.c.category).where(here)).scalar_one_or_none()
    if before is None:
        raise NoSuchModel(what=model_name, project=asking)
    if before != category:
        connection.execute(update(model).where(here).values(category=category))
        journal.record_event(
            connection, asking, who, EventKind.MODEL_CATEGORY, str(model_name), f"{before} before, {category} now"
        )
