"""Commands about runs: runs, follow, cancel, retry."""

from __future__ import annotations

from typing import Any

import click

from modelshelf.cli import new_home, options
from modelshelf.cli.errors import NoServer


@click.command()
@click.option("--limit", default=20, show_default=True, help="The most runs to list, newest first.")
@options.as_json
@new_home.answered(new_home.nothing_yet([]))
def runs(limit: int, as_json: bool) -> None:
    """List the newest runs, finished and running."""
    from datetime import datetime

    from modelshelf.cli import reading, tables
    from modelshelf.words import first_sentence

    found = _api()[1].runs(limit)
    if as_json:
        keys = ("id", "name", "state_type", "state_name", "parameters", "start_time", "end_time", "total_run_time")
        tables.show_json([{key: run[key] for key in keys} for run in found])
        return
    rows = []
    for run in found:
        begun = run["start_time"] or run["expected_start_time"]
        since = reading.ago(datetime.fromisoformat(begun).timestamp()) if begun else ""
        message = first_sentence(str((run.get("state") or {}).get("message") or ""))
        rows.append((run["id"][:8], run["name"], run["state_name"], since, f"{run['total_run_time']:.1f} s", message[:200]))
    tables.show(("RUN", "WHAT", "STATE", "SINCE", "TOOK", "MESSAGE"), rows, empty="There are no runs yet.")


@click.command()
@click.argument("run", shell_complete=options.complete_runs)
@options.as_json
@new_home.answered(new_home.no_run)
def follow(run: str, as_json: bool) -> None:
    """Follow a run until it ends. RUN is its id, or the first digits of it."""
    from modelshelf.cli import follow as following
    from modelshelf.cli import tables

    settings, api = _api()
    plan = following.follow(settings, api, api.find_run(run)["id"], quiet=as_json)
    if as_json:
        tables.show_json(plan)
    else:
        click.echo("The run has completed.")


@click.command()
@click.argument("run", shell_complete=options.complete_runs)
@new_home.answered(new_home.no_run)
def cancel(run: str) -> None:
    """Cancel a run. Fetched files are kept for the next try."""
    from modelshelf.cli import lost
    from modelshelf.cli.prefect_api import FINAL
    from modelshelf.cli.state_file import Running

    settings, api = _api()
    found = api.find_run(run)
    if found["state_type"] in FINAL:
        click.echo(f"{found['name']} has already ended ({found['state_name']}).")
        return
    gone = lost.why_nobody_runs(Running.read(settings), found)
    api.set_state(found["id"], "CANCELLED" if gone else "CANCELLING", "modelshelf cancel")
    if gone:
        click.echo(f"{found['name']} is cancelled: {gone}. Fetched files are kept.")
        return
    click.echo(f"{found['name']} is being cancelled. Fetched files are kept.")


@click.command()
@click.argument("run", shell_complete=options.complete_runs)
@options.no_wait
@new_home.answered(new_home.no_run)
def retry(run: str, no_wait: bool) -> None:
    """Repeat a run with the same parameters.

    Finished steps are kept: it continues where the former run ended.

    \b
    Example: modelshelf retry 1a2b3c4d
    """
    import uuid

    from modelshelf.cli import follow as following

    settings, api = _api()
    found = api.find_run(run)
    of_flow = [one for one in api.deployments() if one["flow_id"] == found["flow_id"]]
    # a run of before an upgrade may be of a deployment that has another name now
    deployment = next((one for one in of_flow if one["id"] == found["deployment_id"]), of_flow[0])
    again = f"{api.flow_name(found['flow_id'])}/{deployment['name']}"
    made = api.create_run(again, found["parameters"], uuid.uuid4().hex)
    if no_wait:
        following.say_started(again, made["id"], as_json=False)
        return
    following.follow(settings, api, made["id"])
    click.echo("The run has completed.")


COMMANDS = (runs, follow, cancel, retry)


def _api() -> tuple[Any, Any]:
    """The server that is up; asking what runs starts none."""
    from modelshelf.cli import launcher
    from modelshelf.settings import load_settings

    settings = load_settings()
    api = launcher.find(settings)
    if api is None:
        raise NoServer(home=settings.home)
    return settings, api
