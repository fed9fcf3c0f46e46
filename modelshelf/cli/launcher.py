"""The Prefect server and the worker of this machine: found, started, stopped. `starting` has their settings."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from modelshelf.cli import lost, server_secrets, starting
from modelshelf.cli.deployments import Deployment
from modelshelf.cli.errors import NoSuchRun
from modelshelf.cli.state_file import Running
from modelshelf.errors import BadSecret, CatalogUnknown, Unavailable
from modelshelf.nodes import processes
from modelshelf.settings import Settings, default_catalog, private_folder

if TYPE_CHECKING:
    from modelshelf.cli.prefect_api import PrefectApi

_DRAIN_SECONDS = 40.0

Say = Callable[[str], None]


def find(settings: Settings) -> PrefectApi | None:
    """Return the server that is up for this home; None if there is none."""
    running = Running.read(settings)
    if running is None or not running.alive:
        return None
    api = starting.connect(settings, running.url, remote=running.server is None)
    return api if api.is_healthy() else None


def ensure(settings: Settings, say: Say, *, remote: str = "", take_over: bool = False) -> PrefectApi:
    """Return a server that is up, with a worker of this machine: those of this home, or new ones in the background."""
    with _one_at_a_time(settings):
        if take_over:
            prepare(settings, take_over=True)
            say("This home now owns the catalog's store and node; `modelshelf audit` compares them with the catalog.")
        if not remote and (api := find(settings)) is not None:
            running = Running.read(settings)
            assert running is not None
            running.require_fit(settings)
            return api
        stop_processes(settings)
        if remote and settings.catalog_url == default_catalog(settings.home):
            raise CatalogUnknown(server=remote, config=settings.config_file)
        prepare(settings)
        if remote:
            server_secrets.keep_remote_auth_string(settings, os.environ.get("PREFECT_API_AUTH_STRING", ""))
            say(f"Joining the Prefect server {remote} with a worker (`modelshelf down` does not stop that server) …")
        else:
            say("Starting a Prefect server and a worker in the background (`modelshelf down` stops them) …")
        began = time.time()
        api = starting.start_somewhere(settings, remote)
        if not remote:
            for run in lost.conclude(api, started=began):
                say(f"{run['name']} was interrupted: its process is gone. Resume it: modelshelf retry {run['id'][:8]}")
        api.create_run(Deployment.RECONCILE, {}, uuid.uuid4().hex)  # what should be here and is not comes back
        return api


def deploy(settings: Settings, say: Say) -> PrefectApi:
    """Let the server that is up, or is started, have every deployment as `prefect.yaml` states it now; return it."""
    running, api = Running.read(settings), find(settings)
    if running is None or api is None:
        return ensure(settings, say)
    running.require_fit(settings)
    starting.deploy(settings, running.url, remote=running.server is None)
    return api


def prepare(settings: Settings, *, take_over: bool = False) -> None:
    """Make the home folder, the catalog's shape and the secrets; its store and node are this home's."""
    from modelshelf.library.opening import migrate

    migrate(settings, take_over=take_over)
    private_folder(settings.prefect_home)
    private_folder(settings.run)
    server_secrets.auth_string(settings)


def stop(settings: Settings, say: Say) -> bool:
    """Cancel this machine's runs, wait for them, and stop what is ours but the engines. Return whether anything ran."""
    with _one_at_a_time(settings):
        running = Running.read(settings)
        if running is None or not running.alive:
            stop_processes(settings)
            return False
        try:
            api = find(settings)
        except BadSecret as error:  # whoever mends the secret has to stop the server first
            say(f"{error} Its runs are stopped without waiting.")
            api = None
        if api is not None:
            try:
                _drain(api, say, ours=running.server is not None)
            except Unavailable as error:  # it is stopped all the same: a full disk would keep it for ever
                say(f"{error} Its runs are not waited for.")
        stop_processes(settings)
        return True


def stop_processes(settings: Settings) -> None:
    """End the worker, then the server, and those of a command that was killed before it recorded them."""
    running = Running.read(settings)
    for process in (*(running.parts if running is not None else ()), *lost.parts(settings.home)):
        processes.stop(process, 15)
    (settings.run / "server.json").unlink(missing_ok=True)


def _drain(api: PrefectApi, say: Say, *, ours: bool) -> None:
    """Cancel what runs on this machine and wait for it: a worker that ends leaves its runs Running.

    Of a server that is not `ours`, only the runs that have a process here are this machine's.
    """
    if ours:
        lost.conclude(api)
    here = lost.runs_with_a_process()
    active = [run for run in api.unfinished() if ours or run["id"] in here]  # what has not begun can wait
    for run in active:
        say(f"Cancelling {run['name']} …")
        with contextlib.suppress(NoSuchRun):
            api.set_state(run["id"], "CANCELLING", "modelshelf down")
    until = time.monotonic() + _DRAIN_SECONDS
    while active and time.monotonic() < until:
        time.sleep(0.25)
        active = [run for run in active if not _has_ended(api, run["id"])]


def _has_ended(api: PrefectApi, run: str) -> bool:
    """Return whether the run has ended; one that is gone has: a look deletes the looks before it that did nothing."""
    from modelshelf.cli.prefect_api import FINAL

    try:
        return api.run(run)["state_type"] in FINAL
    except NoSuchRun:
        return True


@contextlib.contextmanager
def _one_at_a_time(settings: Settings) -> Iterator[None]:
    """Hold the lock by which two commands that both find no server start one."""
    file = private_folder(private_folder(settings.home) / "run") / "lock"
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
