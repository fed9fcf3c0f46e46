"""What a model is used for: named by a person, else recognised from its files; one for all versions of a model."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from modelshelf.catalog import instances, models, versions
from modelshelf.catalog.versions import Version
from modelshelf.errors import BadSetting, CategoryInUse
from modelshelf.library.opening import Library
from modelshelf.names import CATEGORIES, ModelName, ModelRef, ProjectName
from modelshelf.sources.contract import Pin
from modelshelf.states import VersionState

_UNKNOWN = "chat"
"""What a model is taken for when neither a person nor its files say: most models write text."""


def reserve(
    connection: Connection, asking: ProjectName, name: ModelName, pin: Pin, *, source: str, category: str, who: str
) -> Version:
    """Reserve the version, and let the model have the category if one is named. Raises as these two do."""
    reserved = versions.reserve(
        connection, asking, name, pin.version, source=source, resolved=pin.resolved, category=category or _UNKNOWN,
        tag=pin.requested,
    )  # fmt: skip
    if not category or reserved.category == category:
        return reserved
    change(connection, asking, name, category, who=who)
    return versions.get(connection, asking, reserved.id)


def settle(connection: Connection, asking: ProjectName, published: Version, *, named: str, who: str) -> Version:
    """Give a model that is new here the category that its files say, unless one was `named`."""
    recognised = published.facts.category
    if named or recognised in (None, published.category):
        return published
    others = [one for one in versions.of_model(connection, published.project, published.model) if one.id != published.id]
    if any(one.state == VersionState.READY for one in others):
        return published
    models.set_category(connection, asking, published.model, str(recognised), who=who)
    return versions.get(connection, asking, published.id)


def change(connection: Connection, asking: ProjectName, name: ModelName, category: str, *, who: str) -> None:
    """Change the category of one of the project's own models.

    Raises BadSetting for no category, NoSuchModel, or CategoryInUse if an instance that was started with the old one runs.
    """
    if category not in CATEGORIES:
        raise BadSetting(where=f"the category {category!r}", reason=f"known categories: {', '.join(CATEGORIES)}")
    if running := instances.running(connection, asking, name):
        first = running[0].rpartition("/")[2]
        raise CategoryInUse(model=name, holders=", ".join(running), instance=first, category=category)
    models.set_category(connection, asking, name, category, who=who)


def categorise(library: Library, asking: ProjectName, name: ModelName, category: str, *, who: str) -> ModelRef:
    """Change the category, as a command of its own."""
    with library.catalog.writing() as connection:
        change(connection, asking, name, category, who=who)
    return ModelRef(name, project=None if asking.text == "default" else asking)


def disagreement(version: Version) -> str | None:
    """Return a sentence if the files of a version say another category than its model has."""
    category = version.facts.category
    if category is None or category == version.category:
        return None
    return (
        f"The files indicate {category}, but the category of {version.model} is {version.category}. "
        f"To change it: `modelshelf category {version.model} {category}`."
    )
