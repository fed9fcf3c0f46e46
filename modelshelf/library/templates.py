"""Defining templates: what is refused is refused before a revision exists."""

from __future__ import annotations

from collections.abc import Sequence

from modelshelf.catalog import templates, versions
from modelshelf.catalog.templates import Template
from modelshelf.engines.table import engine_called
from modelshelf.errors import BadSetting
from modelshelf.library.launching.request import LaunchRequest
from modelshelf.library.launching.rules import require_environment, require_fitting
from modelshelf.library.opening import Library
from modelshelf.names import ModelRef, ProjectName, ServedName, TemplateName


def define(
    library: Library, asking: ProjectName, name: TemplateName, models: Sequence[tuple[ModelRef, ServedName | None]],
    request: LaunchRequest, *, who: str,
) -> Template:  # fmt: skip
    """A revision that says this; an alias is resolved now, and stays what it was.

    Raises TypeMismatch, TooManyModels, Disabled or NotReady, and then there is no new revision.
    """
    if not models:
        raise BadSetting(where=f"template {name}", reason="it names no model")
    require_environment(request.environment)
    with library.catalog.writing() as connection:
        serving = []
        for ref, served in models:
            target = versions.require_selectable(versions.find(connection, asking, ref))
            serving.append((target, served or ServedName(target.model.text)))
        names = [str(served) for _, served in serving]
        if len(set(names)) < len(names) or len({one.id for one, _ in serving}) < len(serving):
            raise BadSetting(where=f"template {name}", reason="a version or a served name is there twice")
        require_fitting(engine_called(request.engine, library.settings), tuple(serving))
        settings = {key: value for key, value in request.to_json().items() if key not in ("engine", "template")}
        return templates.write(connection, asking, name, engine=request.engine, settings=settings, serving=serving, who=who)


def remove(library: Library, asking: ProjectName, name: TemplateName) -> None:
    """The template is gone. Instances that were launched from it have their own copy of it."""
    with library.catalog.writing() as connection:
        templates.get(connection, asking, name)
        templates.remove(connection, asking, name)
