"""Defining templates: what is refused is refused before a revision exists."""

from __future__ import annotations

from collections.abc import Sequence

from modelshelf.catalog import journal, templates, versions
from modelshelf.catalog.journal import EventKind
from modelshelf.catalog.templates import Template
from modelshelf.engines.table import engine_called
from modelshelf.errors import BadSetting
from modelshelf.library.launching.choose import choose_engine, require_fitting
from modelshelf.library.launching.request import LaunchRequest, LaunchSettings
from modelshelf.library.launching.rules import require_settings
from modelshelf.library.opening import Library
from modelshelf.names import ModelRef, ProjectName, ServedName, TemplateName


def define(
    library: Library, asking: ProjectName, name: TemplateName, models: Sequence[tuple[ModelRef, ServedName | None]],
    request: LaunchRequest, *, who: str,
) -> Template:  # fmt: skip
    """Write a new revision, or return the newest one if it is identical.

    An alias is resolved now; moving it later does not change the revision. Where no engine is named, one is chosen by format and
    by what is installed. Raises TypeMismatch, CategoryMismatch, TooManyModels, BadName, Disabled or NotReady, and then there is
    no new revision.
    """
    if not models:
        raise BadSetting(where=f"template {name}", reason="it names no model")
    with library.catalog.writing() as connection:
        serving = []
        for ref, served in models:
            target = versions.require_selectable(versions.find(connection, asking, ref))
            serving.append((target, served or ServedName(target.model.text)))
        names = [str(served) for _, served in serving]
        if len(set(names)) < len(names):
            raise BadSetting(where=f"template {name}", reason="a served name is given twice")
        if len({one.id for one, _ in serving}) < len(serving):
            raise BadSetting(where=f"template {name}", reason="a version is given twice")
        chosen = request.engine or choose_engine(library, serving, arguments=bool(request.arguments))
        engine, settings = engine_called(chosen), LaunchSettings(chosen).changed_by(request)
        require_fitting(engine, serving)
        require_settings(engine, settings)
        if settings.memory:
            library.node.require_memory_limit()
        kept = {key: value for key, value in settings.to_json().items() if key not in ("engine", "template")}
        return templates.write(connection, asking, name, engine=chosen, settings=kept, serving=serving, who=who)


def remove(library: Library, asking: ProjectName, name: TemplateName, *, who: str) -> None:
    """The template is gone. Instances that were launched from it have their own copy of it."""
    with library.catalog.writing() as connection:
        templates.get(connection, asking, name)
        templates.remove(connection, asking, name)
        journal.record_event(connection, asking, who, EventKind.TEMPLATE_DELETED, str(name))
