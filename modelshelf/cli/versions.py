"""Commands about versions as such: save, build, alias, disable, enable, diff, explain."""

from __future__ import annotations

from typing import Any

import click

from modelshelf.cli import new_home, options
from modelshelf.cli.deployments import Deployment
from modelshelf.names import CATEGORIES, InstanceName, ModelName, ModelRef, ProjectName, Tag

_model = click.argument("model", type=options.parsed(ModelRef.parse, "MODEL"), shell_complete=options.complete_models)


@click.command()
@click.argument("instance", type=options.parsed(InstanceName, "INSTANCE"), shell_complete=options.complete_instances)
@click.argument("model")
@click.option("--name", type=options.parsed(ModelName, "NAME"), help="The model's name in the library.  [default: the same]")
@click.option("--version", "version", type=options.parsed(Tag, "NAME"), help="The version's name.  [default: its tag]")
@options.project
@options.dry_run
@options.no_wait
@options.as_json
def save(
    instance: InstanceName, model: str, name: ModelName | None, version: Tag | None, project: ProjectName, dry_run: bool,
    no_wait: bool, as_json: bool,
) -> None:  # fmt: skip
    """Save a model that was pulled or made inside an instance.

    The instance must run Ollama, and keeps running. Only files that the store lacks are copied.

    \b
    Example: modelshelf save chat my-finetune --name support-bot --version v1
    """
    from modelshelf.cli import follow
    from modelshelf.cli.models import say_import

    parameters = {
        "instance": str(instance), "model": model, "name": str(name or ""), "version": str(version or ""),
        "project": str(project), "dry_run": dry_run,
    }  # fmt: skip
    plan = follow.outcome(Deployment.SAVE_FROM_INSTANCE, parameters, wait=not no_wait, as_json=as_json)
    if plan is not None:
        say_import(plan, project, dry_run=dry_run)


@click.command()
@_model
@click.argument("folder", type=click.Path(resolve_path=True))
@options.project
@options.dry_run
@options.no_wait
@options.as_json
def build(model: ModelRef, folder: str, project: ProjectName, dry_run: bool, no_wait: bool, as_json: bool) -> None:
    """Write a version's image to a folder, as an OCI layout.

    The folder must be new or empty. The image has the recorded digest.

    \b
    Example: modelshelf build qwen3:0.6b ./qwen3-image
    """
    from modelshelf.cli import follow
    from modelshelf.words import said_bytes

    parameters = {"model": str(model), "to": folder, "project": str(project), "dry_run": dry_run}
    plan = follow.outcome(Deployment.BUILD_IMAGE, parameters, wait=not no_wait, as_json=as_json)
    if plan is None:
        return
    would = "would be written" if dry_run else "is written"
    click.echo(f"{plan['ref']} {would} to {plan['to']}: {plan['image']}, {plan['blobs']} blobs, {said_bytes(plan['size'])}.")


@click.command()
@_model
@click.argument("name", type=options.parsed(Tag, "ALIAS"), required=False)
@click.option("--back", is_flag=True, help="Move the alias back to the version that it named before.")
@click.option("--remove", is_flag=True, help="Remove the alias.")
@options.project
@options.as_json
@new_home.answered(new_home.no_model("model"), unless="name")
def alias(model: ModelRef, name: Tag | None, back: bool, remove: bool, project: ProjectName, as_json: bool) -> None:
    """Move an alias, move it back, or show a model's alias history.

    A version is never deleted or cleaned while an alias that someone set names it.

    \b
    Examples:
      modelshelf alias qwen3:main-1a2b3c4d stable     promote
      modelshelf alias qwen3 stable --back            roll back
      modelshelf alias qwen3                          who moved what, when
    """
    if name is None:
        _show_history(model.model, project, as_json=as_json)
        return
    change = "roll-back" if back else "unalias" if remove else "promote"
    if back:
        model = _before_last_move(model.model, name, project)
    changed = _change(model, change, project, alias=str(name), as_json=as_json)
    if changed is not None:
        said = f"no longer names {changed['ref']}" if remove else f"names {changed['ref']}"
        click.echo(f"{model.model}:{name} {said}.")


@click.command()
@_model
@options.project
@options.as_json
def disable(model: ModelRef, project: ProjectName, as_json: bool) -> None:
    """Disable a version: no new launch. Running instances go on."""
    if (changed := _change(model, "disable", project, as_json=as_json)) is not None:
        click.echo(f"{changed['ref']} is disabled.")


@click.command()
@_model
@options.project
@options.as_json
def enable(model: ModelRef, project: ProjectName, as_json: bool) -> None:
    """Enable a disabled version, so that it can be launched again."""
    if (changed := _change(model, "enable", project, as_json=as_json)) is not None:
        click.echo(f"{changed['ref']} is enabled.")


@click.command()
@_model
@options.project
@options.as_json
def unpin(model: ModelRef, project: ProjectName, as_json: bool) -> None:
    """Unpin a replica, so that it can be evicted again.

    `modelshelf cache MODEL --pin` pins a replica.
    """
    if (changed := _change(model, "unpin", project, as_json=as_json)) is not None:
        now = "was not pinned; nothing was changed" if changed["already"] else "is no longer pinned"
        click.echo(f"The replica of {changed['ref']} {now}.")


@click.command("no-auto")
@_model
@options.project
@options.as_json
def no_auto(model: ModelRef, project: ProjectName, as_json: bool) -> None:
    """Stop caching a version on every node.

    `modelshelf cache MODEL --auto` starts it. Existing replicas stay.
    """
    if (changed := _change(model, "no-auto-cache", project, as_json=as_json)) is not None:
        now = "was not cached on every node; nothing was changed" if changed["already"] else "is no longer cached on every node"
        click.echo(f"{changed['ref']} {now}.")


@click.command()
@click.argument("before", type=options.parsed(ModelRef.parse, "MODEL"), shell_complete=options.complete_models)
@click.argument("after", type=options.parsed(ModelRef.parse, "MODEL"), shell_complete=options.complete_models)
@options.project
@options.as_json
@new_home.answered(new_home.no_model("before"))
def diff(before: ModelRef, after: ModelRef, project: ProjectName, as_json: bool) -> None:
    """Compare two versions.

    Compares files, bytes and headers, and shows what this node would have to fetch. Needs no server.
    """
    from modelshelf.cli import tables
    from modelshelf.library.comparing import compare
    from modelshelf.library.opening import Library
    from modelshelf.settings import load_settings
    from modelshelf.words import said_bytes

    found = compare(Library.open(load_settings()), project, before, after)
    if as_json:
        tables.show_json(found)
        return
    facts = [(name, _known(old), _known(new)) for name, old, new in found.facts]
    tables.show(("WHAT", str(found.before), str(found.after)), facts, empty="Their recorded facts are the same.")
    click.echo()
    rows = [(one.path, _size(one.before), _size(one.after)) for one in found.files if not one.same]
    tables.show(("FILE", "BEFORE", "AFTER"), rows, empty="Their files are the same.")
    click.echo(f"\n{said_bytes(found.shared)} are shared and {said_bytes(found.new)} new; ", nl=False)
    click.echo(f"this node would fetch {said_bytes(found.to_fetch)}.")


@click.command()
@_model
@click.option(
    "--in", "instance", type=options.parsed(InstanceName, "INSTANCE"), help="Explain why this instance does not serve the model."
)
@options.engine
@options.project
@options.as_json
@new_home.answered(new_home.no_model("model"))
def explain(model: ModelRef, instance: InstanceName | None, engine: str | None, project: ProjectName, as_json: bool) -> None:
    """Explain why a model cannot be launched, or is not served.

    Each cause is printed with the command that fixes it. Needs no server.

    \b
    Examples:
      modelshelf explain qwen3:0.6b --engine vllm
      modelshelf explain qwen3:0.6b --in chat
    """
    from modelshelf.cli import tables
    from modelshelf.library import explaining
    from modelshelf.library.opening import Library
    from modelshelf.settings import load_settings
    from modelshelf.words import of_project

    library = Library.open(load_settings())
    if instance is not None:
        causes = explaining.why_not_visible(library, project, model, instance, _has_engine_key)
        fine = f"{instance} serves {model}."
    else:
        causes = explaining.why_not_selectable(library, project, model, engine, _has_engine_key)
        with_engine = f" --engine {engine}" if engine else ""
        fine = f"{model} can be launched: modelshelf launch {model}{with_engine}{of_project(project)}"
    if as_json:
        tables.show_json(causes)
        return
    for cause in causes:
        tables.show_facts([("because" if cause.hinders else "note", cause.because), ("do", cause.command)])
    if not any(cause.hinders for cause in causes):
        click.echo(fine)


@click.command()
@click.argument("model", type=options.parsed(ModelName, "MODEL"))
@click.argument("category", type=click.Choice(CATEGORIES))
@options.project
@options.as_json
def category(model: ModelName, category: str, project: ProjectName, as_json: bool) -> None:
    """Change what a model is used for, in all its versions.

    Stop the instances that serve the model first.

    \b
    Example: modelshelf category all-minilm embedding
    """
    changed = _change(ModelRef(model), "category", project, as_json=as_json, category=category)
    if changed is not None:
        click.echo(f"The category of {changed['ref']} is now {category}.")


COMMANDS = (save, build, alias, category, disable, enable, unpin, no_auto, diff, explain)


def _change(
    model: ModelRef, change: str, project: ProjectName, *, as_json: bool, alias: str = "", category: str = ""
) -> dict[str, Any] | None:
    """What the run changed; None if it was printed as JSON."""
    from modelshelf.cli import follow

    parameters = {"model": str(model), "change": change, "alias": alias, "category": category, "project": str(project)}
    return follow.outcome(Deployment.CHANGE_VERSION, parameters, wait=True, as_json=as_json)


def _has_engine_key(name: str) -> bool | None:
    """Ask the server that is up, without its secret; None if none is up or it does not answer."""
    from modelshelf.cli import launcher
    from modelshelf.cli.login import SLUGS
    from modelshelf.errors import ModelshelfError
    from modelshelf.settings import load_settings

    try:
        api = launcher.find(load_settings())
        return api.has_block(SLUGS["engine"], name) if api is not None else None
    except ModelshelfError:
        return None


def _before_last_move(model: ModelName, alias: Tag, project: ProjectName) -> ModelRef:
    """Return what `--back` means now: a run that is retried moves the alias to the same version, and not forward again."""
    from modelshelf.catalog import aliases
    from modelshelf.cli import reading

    with reading.open_catalog().reading() as connection:
        return ModelRef(model, aliases.previous(connection, project, model, alias))


def _known(value: object) -> str:
    return "—" if value is None else str(value)


def _size(size: int | None) -> str:
    from modelshelf.words import said_bytes

    return "—" if size is None else said_bytes(size)


def _show_history(model: ModelName, project: ProjectName, *, as_json: bool) -> None:
    from modelshelf.catalog import aliases
    from modelshelf.cli import reading, tables

    with reading.open_catalog().reading() as connection:
        moves = aliases.history(connection, project, model)
    if as_json:
        tables.show_json(moves)
        return
    rows = [(move.alias, move.before or "—", move.after or "—", move.who, reading.ago(move.at)) for move in moves]
    tables.show(("ALIAS", "BEFORE", "AFTER", "WHO", "WHEN"), rows, empty=f"{model} has had no aliases.")
