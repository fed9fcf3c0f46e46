"""Commands about instances: launch, instances, logs, stop."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from modelshelf.cli import new_home, options
from modelshelf.cli.deployments import Deployment
from modelshelf.names import InstanceName, ModelRef, ProjectName, ServedName, TemplateName
from modelshelf.states import InstanceState
from modelshelf.words import plain_lines

if TYPE_CHECKING:
    from modelshelf.catalog.instances import Instance
    from modelshelf.library.opening import Library

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
"""What engines put into their logs for terminals (ECMA-48, SGR)."""


@click.command()
@click.argument("model", type=options.parsed(ModelRef.parse, "MODEL"), required=False, shell_complete=options.complete_models)
@click.option(
    "--template",
    type=options.parsed(TemplateName, "NAME"),
    shell_complete=options.complete_templates,
    help="Serve the models of this template, in place of MODEL.",
)
@click.option("--as", "instance", type=options.parsed(InstanceName, "NAME"), help="The instance's name.  [default: the model's]")
@click.option("--name", "served", type=options.parsed(ServedName, "NAME"), help="The model's name in requests.")
@options.engine
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port, kept across restarts.  [default: a free port]")
@click.option("--bind", default="", help="The address to listen on.  [default: 127.0.0.1]")
@click.option("--key", default="", metavar="NAME", help="The stored engine key that requests must carry.")
@click.option("--unprotected", is_flag=True, help="Allow other machines to connect without a key.")
@options.resources
@options.project
@options.dry_run
@options.no_wait
@options.as_json
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def launch(
    model: ModelRef | None, template: TemplateName | None, instance: InstanceName | None, served: ServedName | None,
    engine: str | None, port: int, bind: str, key: str, unprotected: bool, environment: tuple[str, ...], cpus: int, memory: int,
    project: ProjectName, dry_run: bool, no_wait: bool, as_json: bool, arguments: tuple[str, ...],
) -> None:  # fmt: skip
    """Serve a version or a template, and print the address.

    Arguments after `--` go to the engine. An instance is ready when the engine lists every model and each has answered.
    Launching again finds the running instance. A stopped instance starts with its former engine, port, names, key, arguments
    and limits; options that you give replace them.
    To drop arguments or a key, delete the instance (`modelshelf delete --instance NAME`) and launch the model anew.

    \b
    Examples:
      modelshelf launch qwen3:0.6b
      modelshelf launch qwen3:0.6b --engine ollama
      modelshelf launch qwen3:0.6b --as chat-1 --port 8080 -- --ctx-size 8192 --threads 4
      modelshelf launch --template chat --as chat-2
    """
    from modelshelf.cli import follow, tables

    if (model is None) == (template is None):
        raise click.UsageError("Name a model, or a template with --template.")
    parameters: dict[str, Any] = {
        "model": str(model or ""), "template": str(template or ""), "instance": str(instance or ""),
        "served_name": str(served or ""), "engine": engine or "auto", "port": port, "bind": bind, "arguments": list(arguments),
        "environment": list(environment), "cpus": cpus, "memory": memory, "key": key, "unprotected": unprotected,
        "project": str(project), "dry_run": dry_run,
    }  # fmt: skip
    plan = follow.run(Deployment.LAUNCH_INSTANCE, parameters, wait=not no_wait, as_json=as_json, on_plan=_say_left_out)
    if plan is None:
        return
    if dry_run:
        _say_plan(plan, as_json=as_json)
        return
    library = _library()
    launched = _find(library, project, InstanceName(plan["instance"]))
    if as_json:
        tables.show_json(_seen_json(library, launched))
        return
    if plan["running"]:
        click.echo(f"{launched.name} is already running with these settings.")
    _say_instance(launched, plan["left_out"])


@click.command()
@click.argument("instance", type=options.parsed(InstanceName, "INSTANCE"), shell_complete=options.complete_instances)
@options.project
@options.no_wait
@options.as_json
def restart(instance: InstanceName, project: ProjectName, no_wait: bool, as_json: bool) -> None:
    """Stop an instance and start it again with the same versions.

    Digests, port, names and arguments stay the same.

    \b
    Example: modelshelf restart chat-1
    """
    from modelshelf.cli import follow

    parameters = {"instance": str(instance), "project": str(project)}
    if follow.run(Deployment.RESTART_INSTANCE, parameters, wait=not no_wait, as_json=as_json) is not None:
        _show(project, instance, as_json=as_json)


@click.command()
@click.argument("instance", type=options.parsed(InstanceName, "INSTANCE"), shell_complete=options.complete_instances)
@click.argument("model", type=options.parsed(ModelRef.parse, "MODEL"), required=False, shell_complete=options.complete_models)
@click.option("--back", is_flag=True, help="Return to the version that it served before the last switch.")
@click.option("--forget", is_flag=True, help="Release the versions that it served before, so that they can be deleted.")
@options.project
@options.dry_run
@options.no_wait
@options.as_json
def switch(
    instance: InstanceName,
    model: ModelRef | None,
    back: bool,
    forget: bool,
    project: ProjectName,
    dry_run: bool,
    no_wait: bool,
    as_json: bool,
) -> None:
    """Serve another version at the same address.

    If the engine does not start with the other version, the instance serves the previous one again.

    \b
    Examples:
      modelshelf switch chat qwen3:main-1a2b3c4d --dry-run
      modelshelf switch chat --back
    """
    from modelshelf.cli import follow, tables
    from modelshelf.words import said_bytes

    if (model is not None) + back > 1 or not (model or back or forget):
        raise click.UsageError("Name a model, or give --back or --forget.")
    parameters = {
        "instance": str(instance), "model": str(model or ""), "back": back, "forget": forget, "project": str(project),
        "dry_run": dry_run, "revision": _former_revision(project, instance) if back else 0,
    }  # fmt: skip
    plan = follow.run(Deployment.SWITCH_INSTANCE, parameters, wait=not no_wait, as_json=as_json, on_plan=_say_left_out)
    if plan is None:
        return
    if dry_run and not as_json:
        for key in ("before", "after"):
            click.echo(f"{key:>6}: " + ", ".join(f"{one['name']} = {one['version']}" for one in plan[key]))
        click.echo(f"{said_bytes(plan['to_copy'])} to fetch." if not plan["same"] else "Nothing would change.")
    elif dry_run:
        tables.show_json(plan)
    else:
        _show(project, instance, as_json=as_json, printed=plan["left_out"])


@click.command()
@options.project
@options.as_json
@new_home.answered(new_home.nothing_yet([]))
def instances(project: ProjectName, as_json: bool) -> None:
    """List instances, checking each process now. Needs no server."""
    from modelshelf.catalog import instances as queries
    from modelshelf.cli import tables
    from modelshelf.library.asking import curl
    from modelshelf.library.recovery import next_try
    from modelshelf.library.running import seen_state
    from modelshelf.words import first_sentence

    library = _library()
    with library.catalog.reading() as connection:
        found = queries.page(connection, project)
    seen = [(one, *seen_state(library, one)) for one in found]
    if as_json:
        tables.show_json([_instance_json(one, state, reason) for one, state, reason in seen])
        return
    rows: list[tuple[str, ...]] = []
    alone = all(one.node == library.node_at.name for one in found)
    for one, state, reason in seen:
        served = ", ".join(f"{serving.served_name} = {serving.ref}" for serving in one.serves)
        why = _why(first_sentence(reason or ""), next_try(library, one, state))
        node = () if alone else (str(one.node),)
        rows.append((str(one.name), *node, state, one.engine, served, one.url, why))
    tables.show(
        ("INSTANCE", *(() if alone else ("NODE",)), "STATE", "ENGINE", "SERVES", "URL", "WHY"),
        rows,
        empty="There are no instances. Start one: modelshelf launch MODEL",
    )
    for one, state, _ in seen:
        if state == InstanceState.READY and one.node == library.node_at.name:
            click.echo(f"\n{one.name}:\n{curl(one)}")


ps = click.Command(
    "ps",
    callback=instances.callback,
    params=instances.params,
    help="The same as `instances`.\n\n\b\nExample: modelshelf ps --json",
)


@click.command()
@click.argument("instance", type=options.parsed(InstanceName, "INSTANCE"), shell_complete=options.complete_instances)
@options.project
@options.as_json
@new_home.answered(new_home.no_instance("instance"))
def models(instance: InstanceName, project: ProjectName, as_json: bool) -> None:
    """List the models that an Ollama instance keeps.

    These are the models that it serves, and those that were pulled or made inside it. `modelshelf save INSTANCE MODEL` adds
    one to the library. Needs no server.

    \b
    Example: modelshelf models chat
    """
    from modelshelf.cli import tables
    from modelshelf.library.saving import models_in
    from modelshelf.words import said_bytes

    kept = models_in(_library(), project, instance)
    if as_json:
        rows = [
            {"name": one.name, "digest": str(one.digest), "size": one.size, "version": str(one.version) if one.version else None}
            for one in kept
        ]
        tables.show_json(rows)
        return
    tables.show(
        ("MODEL", "ID", "SIZE", "IN THE LIBRARY"),
        [(one.name, one.digest.hex[:12], said_bytes(one.size), str(one.version or "no")) for one in kept],
        empty=f"{instance} keeps no models.",
    )
    new = next((one for one in kept if one.version is None), None)
    if new is not None:
        click.echo(f"\nAdd one to the library: modelshelf save {instance} {new.name}{_of(project)}")


@click.command()
@click.argument("instance", type=options.parsed(InstanceName, "INSTANCE"), shell_complete=options.complete_instances)
@click.option(
    "--lines",
    "-n",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="How many last lines to print; 0 for all.",
)
@options.project
@new_home.answered(new_home.no_instance("instance"))
def logs(instance: InstanceName, lines: int, project: ProjectName) -> None:
    """Print an instance's log. Needs no server."""
    library = _library()
    log = library.node.log(_find(library, project, instance).label, lines)
    if log is None:
        click.echo("There is no log: the engine was never started.", err=True)
        return
    for line in log:
        click.echo(plain_lines(_COLOUR.sub("", line)))


@click.command()
@click.argument(
    "names", nargs=-1, required=True, type=options.parsed(InstanceName, "INSTANCE"), shell_complete=options.complete_instances,
    metavar="INSTANCE...",
)  # fmt: skip
@options.project
@options.no_wait
@options.as_json
def stop(names: tuple[InstanceName, ...], project: ProjectName, no_wait: bool, as_json: bool) -> None:
    """Stop instances; their settings are kept for the next launch.

    \b
    Example: modelshelf stop chat-1 chat-2
    """
    from modelshelf.cli import follow, tables

    stopped = []
    for name in names:
        parameters = {"instance": str(name), "project": str(project), "delete": False}
        if follow.run(Deployment.STOP_INSTANCE, parameters, wait=not no_wait, as_json=as_json) is None:
            continue
        stopped.append(name)
        if not as_json:
            click.echo(f"{name} is stopped.")
    if as_json and stopped:
        library = _library()
        rows = [_seen_json(library, _find(library, project, name)) for name in stopped]
        tables.show_json(rows[0] if len(names) == 1 else rows)


COMMANDS = (launch, instances, ps, models, logs, stop, restart, switch)


def _former_revision(project: ProjectName, name: InstanceName) -> int:
    """Return what `--back` means now: a run that is retried returns to the same revision, and not forward again."""
    from modelshelf.catalog import instances
    from modelshelf.cli import reading
    from modelshelf.library import switching

    with reading.open_catalog().reading() as connection:
        return switching.former(connection, project, instances.find(connection, project, name)).number


def _show(project: ProjectName, name: InstanceName, *, as_json: bool, printed: Sequence[str] = ()) -> None:
    from modelshelf.cli import tables

    library = _library()
    one = _find(library, project, name)
    if as_json:
        tables.show_json(_seen_json(library, one))
    else:
        _say_instance(one, printed)


def _library() -> Library:
    from modelshelf.library.opening import Library
    from modelshelf.settings import load_settings

    return Library.open(load_settings())


def _find(library: Library, project: ProjectName, name: InstanceName) -> Instance:
    from modelshelf.catalog import instances as queries

    with library.catalog.reading() as connection:
        return queries.find(connection, project, name)


def _say_left_out(plan: dict[str, Any]) -> None:
    """Print what of the versions the engine does not apply: on stderr, before it starts."""
    for note in plan.get("left_out", ()):
        click.echo(plain_lines(note), err=True)


def _say_plan(plan: dict[str, Any], *, as_json: bool) -> None:
    from modelshelf.addresses import base_url
    from modelshelf.cli import tables
    from modelshelf.words import said_bytes

    if as_json:
        tables.show_json(plan)
    elif plan["running"]:
        click.echo(f"{plan['instance']} is already running with these settings; nothing would be done.")
    else:
        cached = "cached" if plan["cached"] else "to be laid out as links first"
        serves = ", ".join(f"{one['version']} as {one['name']}" for one in plan["serves"])
        click.echo(f"{plan['instance']} would serve {serves} with {plan['engine']}")
        click.echo(f"at {base_url(plan['bind'], plan['port'])}; its files ({said_bytes(plan['size'])}) are {cached}.")


def _say_instance(one: Instance, printed: Sequence[str] = ()) -> None:
    """Print where the instance is and how to ask it. Notes among `printed` are on the terminal already."""
    from modelshelf.addresses import is_loopback, url_host
    from modelshelf.cli import tables
    from modelshelf.library.asking import curl
    from modelshelf.words import said_seconds

    served = ", ".join(f"{serving.served_name} = {serving.ref}" for serving in one.serves)
    stages = " + ".join(f"{stage} {said_seconds(seconds)}" for stage, seconds in one.stages.items())
    tables.show_facts(
        [
            ("instance", f"{one.name} ({one.state})"),
            ("base URL", f"{one.url}/v1"),
            ("listens on", None if is_loopback(one.bind) else f"{url_host(one.bind)}:{one.port}, reachable from other machines"),
            ("serves", served),
            ("started in", f"{said_seconds(sum(one.stages.values()))}: {stages}" if one.stages else None),
            ("command", shlex.join(one.command)),
        ]
    )
    for note in one.notes:
        if note not in printed:
            click.echo(plain_lines(note))
    if one.settings.get("key_block"):
        click.echo(f"\nSet KEY to the key that was stored as {one.settings['key_block']}:", nl=False)
    click.echo(f"\n{curl(one)}")


def _of(project: ProjectName) -> str:
    """Return the option that names the project, where it is not the default one."""
    return "" if str(project) == "default" else f" --project {project}"


def _why(reason: str, next_try: str | None) -> str:
    return " ".join(part for part in (reason, f"{next_try[0].upper()}{next_try[1:]}." if next_try else "") if part)


def _seen_json(library: Library, one: Instance) -> dict[str, Any]:
    from modelshelf.library.running import seen_state

    return _instance_json(one, *seen_state(library, one))


def _instance_json(one: Instance, state: InstanceState, reason: str | None) -> dict[str, Any]:
    from modelshelf.library.asking import curl

    return {
        "instance": str(one.name),
        "node": str(one.node),
        "state": state,
        "reason": reason,
        "desired": one.desired,
        "attempts": one.attempts,
        "next_try": one.next_try,
        "engine": one.engine,
        "base_url": f"{one.url}/v1",
        "serves": [{"name": str(s.served_name), "version": str(s.ref)} for s in one.serves],
        "bind": one.bind,
        "port": one.port,
        "process": json.loads(one.handle) if one.handle else None,
        "command": list(one.command),
        "notes": list(one.notes),
        "stages": dict(one.stages),
        "curl": curl(one),
    }
