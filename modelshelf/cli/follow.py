"""Starting a run and following it: progress while it works, its words when it ends."""

from __future__ import annotations

import contextlib
import json
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from modelshelf.catalog import journal
from modelshelf.catalog.database import Catalog
from modelshelf.cli import launcher, lost, tables
from modelshelf.cli.deployments import Deployment
from modelshelf.cli.ending import EXIT_INTERRUPTED
from modelshelf.cli.errors import RunAbandoned, RunCancelled, RunFailed, RunFaulted, RunUnavailable
from modelshelf.cli.prefect_api import FINAL, PrefectApi
from modelshelf.cli.state_file import Running
from modelshelf.errors import ModelshelfError, Unavailable
from modelshelf.settings import Settings, load_settings
from modelshelf.words import first_sentence

if TYPE_CHECKING:
    from rich.console import Console

OnPlan = Callable[[dict[str, Any]], None]

_LOOK_SECONDS = 0.3
_LOG_SECONDS = 1.5
_REST_SECONDS = 2.0
_ABANDONED_SECONDS = 8.0
"""For so long a run may seem to have no process: it has just ended, or the server is busy."""
OURS = ("Refused", "Unavailable")
"""The names of the states that `tasks.outcomes` ends a run in: their message is the whole sentence."""


def start(deployment: Deployment, parameters: dict[str, Any]) -> tuple[Settings, PrefectApi, dict[str, Any]]:
    """The run, on the server that is up or on one that is started for it."""
    settings = load_settings()
    api = launcher.ensure(settings, lambda line: click.echo(line, err=True))
    return settings, api, api.create_run(deployment, parameters, uuid.uuid4().hex)


def run(
    deployment: Deployment, parameters: dict[str, Any], *, wait: bool, as_json: bool, on_plan: OnPlan = lambda _plan: None
) -> dict[str, Any] | None:
    """Run a deployment; the run's plan when it has ended well, None if it was not waited for.

    Ctrl-C leaves the run going and says how to follow or cancel it. Raises what `follow` raises for a run that did not
    complete.
    """
    settings, api, made = start(deployment, parameters)
    if not wait:
        say_started(deployment, made["id"], as_json=as_json)
        return None
    return follow(settings, api, made["id"], quiet=as_json, on_plan=on_plan)


def say_started(deployment: str, run_id: str, *, as_json: bool) -> None:
    """Print which flow was started, and the commands that follow or cancel its run.

    Until a run begins, its name is a random one of Prefect's.
    """
    flow = deployment.partition("/")[0]
    if as_json:
        click.echo(json.dumps({"run": run_id, "flow": flow}))
    else:
        click.echo(f"Started {flow} as the run {run_id[:8]}.\n{_how_to(run_id)}")


def outcome(deployment: Deployment, parameters: dict[str, Any], *, wait: bool, as_json: bool) -> dict[str, Any] | None:
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

    Raises RunFailed or RunUnavailable with the run's own sentence, RunCancelled, and RunFaulted for an end that nobody foresaw.
    """
    catalog = Catalog(settings.catalog_url)
    catalog.require()
    try:
        ended = _watch(settings, api, catalog, run_id, on_plan, quiet=quiet)
    except KeyboardInterrupt:
        click.echo(f"\nThe run continues in the background.\n{_how_to(run_id)}", err=True)
        if quiet:
            raise
        raise SystemExit(EXIT_INTERRUPTED) from None
    if ended["state_type"] != "COMPLETED":
        raise why_not_completed(settings, ended)
    with catalog.reading() as connection:
        plan = journal.get_plan(connection, run_id) or {}
    return {"run": run_id, **plan}


def _watch(settings: Settings, api: PrefectApi, catalog: Catalog, run_id: str, on_plan: OnPlan, *, quiet: bool) -> dict[str, Any]:
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
    spinner = Progress(SpinnerColumn(), TextColumn("{task.description}"), console=console, transient=True)
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    bars = Progress(TextColumn("{task.description}"), BarColumn(), *columns, console=console)
    waiting = spinner.add_task("Waiting for the worker")
    bar, plan = None, None
    log, watch = _Log(api, console, run_id), _Watch(settings, api, run_id)
    with contextlib.ExitStack() as shown:
        if console.is_terminal:  # elsewhere even a disabled one prints an empty line when it ends
            shown.enter_context(spinner)
        while True:
            seen = watch.look()
            with catalog.reading() as connection:
                sample = journal.get_progress(connection, run_id)
                planned = journal.get_plan(connection, run_id) if plan is None else None
            if planned is not None:
                plan = planned
                on_plan(plan)
            if sample is not None and sample.total and bar is None:
                if console.is_terminal:
                    spinner.stop()
                shown.enter_context(bars)
                bar = bars.add_task(sample.stage, total=sample.total)
            if bar is not None and sample is not None:
                bars.update(bar, completed=sample.done)
            if seen["state_type"] not in ("SCHEDULED", "PENDING"):  # its name is Prefect's own until it begins
                spinner.update(waiting, description=f"{seen['name']}: {seen['state_name'].lower()}")
            if seen["state_type"] in FINAL:
                if not quiet:
                    log.show_rest()
                return seen
            log.show()
            time.sleep(_LOOK_SECONDS)


class _Watch:
    """Looks at a run, and at whether anybody still runs it."""

    def __init__(self, settings: Settings, api: PrefectApi, run_id: str) -> None:
        self._settings, self._api = settings, api
        self._seen = api.run(run_id)
        self._fine = time.monotonic()
        """When last nothing was wrong."""

    def look(self) -> dict[str, Any]:
        """Return the run as it is now. Raises RunAbandoned if for some seconds nobody has run it, or no server answered."""
        run_id = self._seen["id"]
        try:
            self._seen = self._api.run(run_id)
            reason = self._why_nobody()
        except Unavailable:
            reason = self._why_nobody() or "the Prefect server does not answer"
        if reason is None or self._seen["state_type"] in FINAL:
            self._fine = time.monotonic()
        elif time.monotonic() - self._fine > _ABANDONED_SECONDS:
            raise RunAbandoned(run=self._seen["name"], reason=reason, short=run_id[:8])
        return self._seen

    def _why_nobody(self) -> str | None:
        return lost.why_nobody_runs(Running.read(self._settings), self._seen)


class _Log:
    """Prints what a flow says of its steps, each line once. Prefect's own lines are for the UI."""

    def __init__(self, api: PrefectApi, console: Console, run_id: str) -> None:
        self._api, self._console, self._run_id = api, console, run_id
        self._shown, self._asked = 0, time.monotonic()

    def show(self) -> None:
        """Print what is new, at most every second or so. A server that does not answer has nothing new."""
        if time.monotonic() - self._asked >= _LOG_SECONDS and not self._console.quiet:
            with contextlib.suppress(Unavailable):
                self._show()

    def show_rest(self) -> None:
        """Print what is left of the log of a run that has ended; its last lines may still be on their way."""
        until = time.monotonic() + _REST_SECONDS
        while not self._show() and time.monotonic() < until:
            time.sleep(0.1)

    def _show(self) -> bool:
        self._asked = time.monotonic()
        lines = self._api.logs(self._run_id, self._shown)
        self._shown += len(lines)
        for line in lines:
            if line["name"].endswith(".modelshelf"):
                self._console.print(line["message"], markup=False, highlight=False, soft_wrap=True)
        return any(line["task_run_id"] is None and line["message"].startswith("Finished in state") for line in lines)


def why_not_completed(settings: Settings, ended: dict[str, Any]) -> ModelshelfError:
    """Return the run's own sentence as an error; for an end that nobody foresaw, the state, its reason and where the log is."""
    message = str((ended.get("state") or {}).get("message") or "no reason was recorded")
    reason = first_sentence(message).rstrip(".")
    if ended["state_name"] in OURS:
        return RunUnavailable(message=message) if ended["state_name"] == "Unavailable" else RunFailed(message=message)
    if ended["state_type"] == "CANCELLED":
        return RunCancelled(run=ended["name"], reason=reason)
    state, short = ended["state_name"].lower(), ended["id"][:8]
    return RunFaulted(run=ended["name"], state=state, reason=reason, short=short, log=_log_of(settings, ended["id"]))


def _log_of(settings: Settings, run_id: str) -> str:
    """Return where the run's log and trace are: in the worker's log, or on the run's page where it may be another machine's."""
    running = Running.read(settings)
    if running is not None and running.server is None:
        return f"{running.url}/runs/flow-run/{run_id}"
    return f"`grep {run_id} {settings.run / 'worker.log'}`"


def _how_to(run_id: str) -> str:
    short = run_id[:8]
    return "\n".join((f"Follow it: modelshelf follow {short}", f"Cancel it: modelshelf cancel {short}"))
