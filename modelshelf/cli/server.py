"""Commands about the program itself: up, down, status, deploy."""

from __future__ import annotations

import os
import shutil
import signal
import time
from typing import Any

import click

from modelshelf.cli import new_home, options
from modelshelf.states import InstanceState, VersionState


@click.command()
@click.option(
    "--server",
    "remote",
    default="",
    metavar="URL",
    help="Start only a worker, for this Prefect server; its secret is read from PREFECT_API_AUTH_STRING.",
)
@click.option("--detach", is_flag=True, help="Return when both are up; `modelshelf down` stops them.")
@click.option("--take-over", is_flag=True, help="Make this home the owner of the catalog, in place of the former one.")
def up(remote: str, detach: bool, take_over: bool) -> None:
    """Start the Prefect server and a worker, until Ctrl-C.

    Engines keep running when this ends. All data is in one folder: MODELSHELF_HOME, by default ~/.modelshelf.
    """
    from modelshelf.cli import launcher, tables
    from modelshelf.cli.state_file import Running
    from modelshelf.settings import load_settings
    from modelshelf.words import said_bytes

    settings = load_settings()
    if "PREFECT_API_URL" in os.environ:
        click.echo("PREFECT_API_URL is set but not used: it may be another team's. Name a server with --server URL.", err=True)
    launcher.ensure(settings, lambda line: click.echo(line, err=True), remote=remote, take_over=take_over)
    running = Running.read(settings)
    assert running is not None
    disk = shutil.disk_usage(settings.home)
    tables.show_facts(
        [
            ("home", settings.home),
            ("file system", f"{_file_system(str(settings.home))}, {said_bytes(disk.free)} of {said_bytes(disk.total)} free"),
            ("UI", f"{running.url}/"),
            ("log in", f"paste the line in {settings.secrets / 'auth-string'}"),
            ("stop", "Ctrl-C, or `modelshelf down`" if not detach else "`modelshelf down`"),
        ]
    )
    if detach:
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a service manager's stop is as good as Ctrl-C
    try:
        while running.alive:
            time.sleep(1)
        click.echo("The server or the worker has ended; see `modelshelf status`.", err=True)
    except KeyboardInterrupt:
        click.echo("\nStopping; engines keep running (`modelshelf stop INSTANCE` stops one) …", err=True)
    finally:
        launcher.stop(settings, lambda line: click.echo(line, err=True))


@click.command()
@click.option("--instances", is_flag=True, help="Stop every instance first.")
def down(instances: bool) -> None:
    """Stop the server and the worker; engines keep running.

    Runs are cancelled first, and the command waits for them.
    """
    from modelshelf.cli import launcher
    from modelshelf.settings import load_settings

    settings = load_settings()
    if new_home.is_new(settings):
        click.echo("Nothing was running.")
        return
    if instances:
        _stop_engines()
    stopped = launcher.stop(settings, lambda line: click.echo(line, err=True))
    click.echo("The server and the worker are stopped." if stopped else "Nothing was running.")


@click.command()
@options.as_json
def status(as_json: bool) -> None:
    """Show server, worker, disk space, and what needs attention.

    Needs no server.
    """
    from modelshelf.catalog import urls
    from modelshelf.cli import tables
    from modelshelf.cli.state_file import Running
    from modelshelf.library.opening import Library
    from modelshelf.nodes import processes
    from modelshelf.settings import load_settings
    from modelshelf.words import said_bytes

    settings = load_settings()
    running = Running.read(settings)
    server = running is not None and (running.server is None or processes.alive(running.server))
    worker = running is not None and running.worker is not None and processes.alive(running.worker)
    facts: dict[str, object] = {
        "home": str(settings.home),
        "catalog": urls.shown(settings.catalog_url),
        "url": running.url if running else None,
        "server": "up" if server else "down",
        "worker": "up" if worker else "down",
    }
    if (settings.home / "catalog.db").exists() or not settings.catalog_url.startswith("sqlite"):
        library = Library.open(settings)
        facts |= {"free": library.store.free_bytes(), **_counts(library)}
    if as_json:
        tables.show_json(facts)
        return
    shown = [(key, said_bytes(value) if key in ("free", "partial downloads") else value) for key, value in facts.items()]  # type: ignore[arg-type]
    tables.show_facts([(key, value) for key, value in shown if value not in (None, 0)])
    if new_home.is_new(settings):
        click.echo(f"\nNothing here yet. {new_home.FIRST}")


@click.command()
@options.as_json
def deploy(as_json: bool) -> None:
    """Write every deployment to the server again.

    Use it after you edited prefect.yaml. What you changed in the UI stays: schedules, parameters, and what is paused. `up`
    does this too.
    """
    from modelshelf.cli import launcher, tables
    from modelshelf.settings import load_settings

    settings = load_settings()
    api = launcher.deploy(settings, lambda line: click.echo(line, err=True))
    found = sorted((one["name"], _schedule(one), one["work_queue_name"]) for one in api.deployments())
    if as_json:
        tables.show_json([{"deployment": name, "schedule": schedule, "queue": queue} for name, schedule, queue in found])
        return
    tables.show(("DEPLOYMENT", "SCHEDULE", "QUEUE"), found, empty="")


COMMANDS = (up, down, status, deploy)


def _schedule(deployment: dict[str, Any]) -> str:
    """When it runs by itself, in the words of its schedules; empty if never."""
    said = []
    for one in deployment["schedules"]:
        when = one["schedule"].get("cron") or f"every {float(one['schedule']['interval']) / 60:g} min"
        said.append(when if one["active"] else f"{when} (switched off)")
    return ", ".join(said)


def _counts(library: object) -> dict[str, object]:
    from modelshelf.catalog import instances, versions
    from modelshelf.library.opening import Library
    from modelshelf.library.running import seen_state

    assert isinstance(library, Library)
    with library.catalog.reading() as connection:
        ready = versions.count_by_state(connection).get(VersionState.READY, 0)
        running = instances.on_node(connection, library.node_id)
    states = [seen_state(library, one)[0] for one in running]
    return {
        "versions ready": ready,
        "instances ready": states.count(InstanceState.READY),
        "instances failed": states.count(InstanceState.FAILED),
        "partial downloads": sum(one.arrived for one in library.store.arriving()),
    }


def _stop_engines() -> None:
    from modelshelf.catalog import instances
    from modelshelf.library.opening import Library
    from modelshelf.library.running import stop_instance
    from modelshelf.settings import load_settings

    library = Library.open(load_settings())
    with library.catalog.reading() as connection:
        running = instances.on_node(connection, library.node_id)
    for one in running:
        stop_instance(library, one.project, one.name, who="modelshelf down")
        click.echo(f"{one.name} is stopped.")


def _file_system(path: str) -> str:
    """The type of the file system that `path` lies on, from the longest mount point above it."""
    best, kind = "", "unknown"
    with open("/proc/mounts") as mounts:  # noqa: PTH123 - a line at a time
        for line in mounts:
            _, point, type_, *_ = line.split()
            if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) > len(best):
                best, kind = point, type_
    return kind
