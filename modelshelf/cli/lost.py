"""Runs that nobody runs any more, and parts of ours that no state file names.

Prefect notices a killed run while its worker lives. After a power cut nobody does: the run would stay Running for ever. Here
it is decided from the processes of this machine, so only for a server and a worker that are ours.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelshelf.nodes import processes
from modelshelf.nodes.processes import Process

if TYPE_CHECKING:
    from modelshelf.cli.prefect_api import PrefectApi
    from modelshelf.cli.state_file import Running

PART = "MODELSHELF_PART"
"""The environment variable that marks a server or a worker of ours."""

_RUN = "PREFECT__FLOW_RUN_ID"
"""Prefect's own mark of the process of a flow run."""

_GRACE_SECONDS = 5.0
"""A run is Running a moment longer than its process lives, and has its process a moment before it is."""

_PENDING_SECONDS = 60.0
"""A run is Pending before it has a process: the worker starts Python for it, on a busy machine slowly."""


def runs_with_a_process() -> set[str]:
    """Return the ids of the flow runs that have a process on this machine."""
    return {environment[_RUN] for _, environment in _environments() if _RUN in environment}


def parts(home: Path) -> list[Process]:
    """Return every server and worker of that home, whoever started it; runs and engines are none."""
    found = []
    for process, environment in _environments():
        if PART in environment and _RUN not in environment and environment.get("MODELSHELF_HOME") == str(home):
            try:
                leads = os.getsid(process.pid) == process.pid
            except ProcessLookupError:
                continue
            if leads:
                found.append(process)
    return found


def conclude(api: PrefectApi, *, started: float | None = None) -> list[dict[str, Any]]:
    """End every run without a process: as Cancelled if that was asked, else as Crashed. Return these runs as they were.

    `started` is when the only worker of this server was started, in seconds since 1970. It begins no run that was Pending
    before: such a run is not given the time to get its process.
    """
    lost = [run for run in api.unfinished() if _is_lost(run, started)]
    if not lost:
        return []
    alive = runs_with_a_process()
    ended = []
    for run in lost:
        if run["id"] in alive or api.run(run["id"])["state_type"] != run["state_type"]:
            continue
        short = run["id"][:8]
        if run["state_type"] == "CANCELLING":
            api.set_state(run["id"], "CANCELLED", "Cancelled; the run's process is gone.")
        else:
            kept = f"Finished steps are kept: `modelshelf retry {short}` resumes from there."
            api.set_state(run["id"], "CRASHED", f"The run's process is gone: it was killed, or the machine went down. {kept}")
        ended.append(run)
    return ended


def why_nobody_runs(running: Running | None, run: Mapping[str, Any]) -> str | None:
    """Return why the run will not go on; None if it does, or if that is not to be seen from this machine."""
    if running is None:
        return "the server and the worker were stopped"
    if running.server is None:
        return None
    if not processes.alive(running.server):
        return "the Prefect server has ended"
    if run["id"] in runs_with_a_process():
        return None
    if running.worker is not None and not processes.alive(running.worker):
        return "the worker has ended"
    return "its process has ended" if _is_lost(run) else None


def _is_lost(run: Mapping[str, Any], started: float | None = None) -> bool:
    """Return whether a run in this state has had its process for a while, if ever it will."""
    if run["state_type"] not in ("RUNNING", "CANCELLING", "PENDING"):
        return False
    since = datetime.fromisoformat(run["state"]["timestamp"]).timestamp()
    if started is not None and since < started:
        return True
    return time.time() - since > (_PENDING_SECONDS if run["state_type"] == "PENDING" else _GRACE_SECONDS)


def _environments() -> Iterator[tuple[Process, dict[str, str]]]:
    """Yield every living process of this user with its environment."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            content = (entry / "environ").read_bytes()
        except OSError:  # another user's, or gone meanwhile
            continue
        if (process := processes.identify(int(entry.name))) is not None:
            pairs = (part.decode(errors="replace").partition("=") for part in content.split(b"\0") if part)
            yield process, {name: value for name, _, value in pairs}
