"""Commands about templates."""

from __future__ import annotations

from typing import Any

import click

from modelshelf.cli import new_home, options
from modelshelf.cli.deployments import Deployment
from modelshelf.names import ProjectName, TemplateName


@click.group()
def template() -> None:
    """Define, list and delete templates of instances.

    A template names an engine, its resources, and the versions to serve.
    """


@template.command()
@click.argument("name", type=options.parsed(TemplateName, "NAME"))
@click.argument("models", nargs=-1, required=True, metavar="[SERVED=]MODEL...", shell_complete=options.complete_models)
@options.engine
@options.resources
@click.option("--arg", "arguments", multiple=True, metavar="TEXT", help="An argument for the engine; may be repeated.")
@options.project
@options.as_json
def define(
    name: TemplateName, models: tuple[str, ...], engine: str | None, environment: tuple[str, ...], cpus: int, memory: int,
    arguments: tuple[str, ...], project: ProjectName, as_json: bool,
) -> None:  # fmt: skip
    """Define a template, or a new revision of it.

    An alias is resolved now: moving it later does not change what the template serves.

    \b
    Examples:
      modelshelf template define chat qwen3:stable --arg=--ctx-size --arg=8192
      modelshelf template define both --engine ollama small=qwen3:0.6b large=qwen3:8b
    """
    from modelshelf.catalog import templates as queries
    from modelshelf.cli import follow, reading, tables

    parameters = {
        "template": str(name), "models": list(models), "engine": engine or "auto", "environment": list(environment), "cpus": cpus,
        "memory": memory, "arguments": list(arguments), "project": str(project),
    }  # fmt: skip
    follow.run(Deployment.DEFINE_TEMPLATE, parameters, wait=True, as_json=as_json)
    with reading.open_catalog().reading() as connection:
        made = queries.get(connection, project, name)
    if as_json:
        tables.show_json(_json(made))
        return
    serves = ", ".join(f"{one.served_name} = {one.ref}" for one in made.serves)
    click.echo(f"{made.name} is at revision {made.number}: {made.engine} serves {serves}.")
    click.echo(f"Launch it: modelshelf launch --template {made.name}")


@template.command("list")
@options.project
@options.as_json
@new_home.answered(new_home.nothing_yet([]))
def list_(project: ProjectName, as_json: bool) -> None:
    """List templates. Needs no server."""
    from modelshelf.catalog import templates as queries
    from modelshelf.cli import reading, tables

    with reading.open_catalog().reading() as connection:
        found = queries.page(connection, project)
    if as_json:
        tables.show_json([_json(one) for one in found])
        return
    rows = [
        (one.name, str(one.number), one.engine, ", ".join(f"{serving.served_name} = {serving.ref}" for serving in one.serves))
        for one in found
    ]
    empty = "There are no templates. Define one: modelshelf template define chat MODEL"
    tables.show(("TEMPLATE", "REVISION", "ENGINE", "SERVES"), rows, empty=empty)


@template.command()
@click.argument("name", type=options.parsed(TemplateName, "NAME"), shell_complete=options.complete_templates)
@options.project
def delete(name: TemplateName, project: ProjectName) -> None:
    """Delete a template. Instances launched from it keep a copy."""
    from modelshelf.cli import follow

    follow.run(Deployment.DELETE_TEMPLATE, {"template": str(name), "project": str(project)}, wait=True, as_json=False)
    click.echo(f"{name} is deleted.")


COMMANDS = (template,)


def _json(one: Any) -> dict[str, Any]:
    serves = [{"name": str(serving.served_name), "version": str(serving.ref)} for serving in one.serves]
    return {"template": one.name, "revision": one.number, "engine": one.engine, "settings": dict(one.settings), "serves": serves}
