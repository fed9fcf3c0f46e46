"""The steps that define and delete templates."""

from __future__ import annotations

from modelshelf.catalog.templates import Template
from modelshelf.library import templates
from modelshelf.library.launching.request import LaunchRequest
from modelshelf.names import ModelRef, ProjectName, ServedName, TemplateName
from tasks.library import library, who
from tasks.retries import step
from tasks.threads import in_thread


@step
async def define(
    project: ProjectName, name: TemplateName, models: tuple[tuple[ModelRef, ServedName | None], ...], request: LaunchRequest
) -> Template:
    """The newest revision says this."""
    return await in_thread(lambda _stop: templates.define(library(), project, name, models, request, who=who()))


@step
async def remove(project: ProjectName, name: TemplateName) -> None:
    await in_thread(lambda _stop: templates.remove(library(), project, name, who=who()))
