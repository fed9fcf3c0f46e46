"""Starting a run and following it: progress while it works, its words when it ends."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import click

from modelshelf.catalog import journal
from modelshelf.catalog.database import Catalog
from modelshelf.cli import launcher, tables
from modelshelf.cli.prefect_api import FINAL, PrefectApi
from modelshelf.errors import RunFailed
from modelshelf.settings import Settings, load_settings

OnPlan = Callable[[dict[str, Any]], None]

_LOOK_SECONDS = 0.3
_LOG_SECONDS = 1.5


def start(deployment: str, parameters: dict[str, Any]) -> tuple[Settings, PrefectApi, dict[str, Any]]:
    """The run, on the server that is up or on one that is started for it."""
    settings = load_settings()
    api = launcher.ensure(settings, lambda line: click.echo(line, err=True))
    return settings, api, api.create_run(deployment, parameters, uuid.uuid4().hex)


def run(
    deployment: str, parameters: dict[str, Any], *, wait: bool, as_json: bool, on_plan: OnPlan = lambda _plan: None
) -> dict[str, Any] | None:
    """Run a deployment; the run's plan when it has ended well, None if it was not waited for.

    Ctrl-C leaves the run going and says how to follow or cancel it. A run that did not complete raises RunFailed with
    what it said.
    """
    settings, api, made = start(deployment, parameters)
    if not wait:
        if as_json:
            click.echo(json.dumps({"run": made["id"], "name": made["name"]}))
        else:
            click.echo(f"Run {made['id'][:8]} ({made['name']}) goes on. {_how_to(made['id'])}")
        return None
    return follow(settings, api, made["id"], quiet=as_json, on_plan=on_plan)


def outcome(deployment: str, parameters: dict[str, Any], *, wait: bool, as_json: bool) -> dict[str, Any] | None:
    """As `run`, for what is to be said in words; None if it was not waited for, or was printed as JSON."""
    plan = run(deployment, parameters, wait=wait, as_json=as_json)
    if plan is None or not as_json:
        return plan
    tables.show_json(plan)
    return None


def follow(
    settings: Settings, api: PrefectApi, run_id: str, *, quiet: bool = False, on_plan: OnPlan = lambda _plan: None
) -> dict[str, Any]:
    """Show the run until it ends, and return its plan. `on_plan` gets the plan once, as soon as the run has recorded it.

    Raises RunFailed if the run did not complete.
    """
    catalog = Catalog(settings.catalog_url)
    catalog.require()
    try:
        ended = _watch(api, catalog, run_id, on_plan, quiet=quiet)
    except KeyboardInterrupt:
        click.echo(f"\nThe run goes on. {_how_to(run_id)}", err=True)
        raise
    if ended["state_type"] != "COMPLETED":
        raise RunFailed(message=_words(ended))
    with catalog.reading() as connection:
        plan = journal.get_plan(connection, run_id) or {}
    return {"run": run_id, **plan}


def _watch(api: PrefectApi, catalog: Catalog, run_id: str, on_plan: OnPlan, *, quiet: bool) -> dict[str, Any]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True, quiet=quiet)
    spinner = Progress(
        SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True, disable=not console.is_terminal
    )
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bars = Progress(TextColumn("{task.description}"), BarColumn(), *columns, console=console)
    waiting = spinner.add_task("waiting for the runner")
    bar, plan = None, None
    shown, asked = 0, time.monotonic()
    with spinner:
        while True:
            seen = api.run(run_id)
            with catalog.reading() as connection:
                sample = journal.get_progress(connection, run_id)
                planned = journal.get_plan(connection, run_id) if plan is None else None
            if planned is not None:
                plan = planned
                on_plan(plan)
            if sample is not None and sample.total and bar is None:
                spinner.stop()
                bars.start()
                bar = bars.add_task(sample.stage, total=sample.total)
            if bar is not None and sample is not None:
                bars.update(bar, completed=sample.done)
            spinner.update(waiting, description=f"{seen['name']}: {seen['state_name'].lower()}")
            if time.monotonic() - asked >= _LOG_SECONDS:
                asked = time.monotonic()
                lines = api.logs(run_id, shown)
                shown += len(lines)
                for line in lines:
                    if line["message"].startswith("Waiting for "):
                        console.print(line["message"])
            if seen["state_type"] in FINAL:
                bars.stop()
                return seen
            time.sleep(_LOOK_SECONDS)


def _words(ended: dict[str, Any]) -> str:
    """What the run said of its end; Prefect's prefix is left away, the error's own words stay."""
    message = str((ended.get("state") or {}).get("message") or ended["state_name"])
    prefix = "Flow run encountered an exception: "
    if message.startswith(prefix):
        message = message.removeprefix(prefix)
        kind, _, words = message.partition(": ")
        return words if words and kind.isidentifier() else message
    return f"The run ended as {ended['state_name']}: {message}"


def _how_to(run_id: str) -> str:
    short = run_id[:8]
    return f"Follow it: modelshelf follow {short}   Cancel it: modelshelf cancel {short}"
