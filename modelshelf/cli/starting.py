"""How a Prefect server and a worker of ours are started: their environment, their logs, and when they are up.

They bind to loopback, ask for a secret, take no request that another web page sends, and keep the key that encrypts blocks
outside the database. Each runs in a session of its own: Ctrl-C in a terminal does not reach them.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import certifi

from modelshelf.cli import lost, server_secrets, ui
from modelshelf.cli.deployments import POOL, QUEUE, Deployment
from modelshelf.cli.errors import ServerDown
from modelshelf.cli.state_file import Program, Running, project_folder, project_version
from modelshelf.durable import write_whole
from modelshelf.nodes import processes
from modelshelf.nodes.processes import Process
from modelshelf.settings import Settings, private_folder
from modelshelf.wire import proxies

if TYPE_CHECKING:
    from modelshelf.cli.prefect_api import PrefectApi

_START_SECONDS = 120.0
_PREFERRED_PORT = 4200
_PORTS_TRIED = 3
_RUNS_AT_ONCE = 8
_LOOK_SECONDS = 0.5
"""How often the worker asks for due runs: a person waits for it, and the server is near."""
_RETENTION_DAYS = 30
"""For so long Prefect keeps runs that have ended, with their logs; its events it keeps for seven days."""


def connect(settings: Settings, url: str, *, remote: bool) -> PrefectApi:
    """Return the API of the server at `url`, with the secret that it asks for."""
    from modelshelf.cli.prefect_api import PrefectApi  # an HTTP client: `status` needs none

    return PrefectApi(url, _auth_for(settings, remote=remote))


def start_somewhere(settings: Settings, remote: str) -> PrefectApi:
    """Start server and worker, on the preferred port or on another where somebody else's server takes it between our look and
    ours; with `remote`, only a worker for that server. Raise ServerDown."""
    log = settings.run / "server.log"
    for port in (free_port(_PREFERRED_PORT), *(0,) * _PORTS_TRIED):
        before = log.stat().st_size if log.exists() else 0
        try:
            return _start(settings, remote, port or free_port())
        except ServerDown:
            if remote or b"already in use" not in log.read_bytes()[before:]:
                raise
    return _start(settings, remote, free_port())


def _start(settings: Settings, remote: str, port: int) -> PrefectApi:
    url = remote or f"http://127.0.0.1:{port}"
    api = connect(settings, url, remote=bool(remote))
    if remote:
        api.require()
    started: list[Process] = []
    try:
        if not remote:
            started.append(_start_server(settings, url, port))
            _wait(settings, started[0], settings.run / "server.log", api.is_healthy)
        worker = start_worker(settings, api, url, remote=bool(remote), started=started)
    except BaseException:
        for process in reversed(started):
            processes.stop(process, 5)
        raise
    Running(url, None if remote else started[0], worker, Program.here(settings)).write(settings)
    return api


def _start_server(settings: Settings, url: str, port: int) -> Process:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    shown = {"PREFECT_UI_STATIC_DIRECTORY": str(made)} if (made := ui.folder()) is not None else {}
    own = environment(settings, url, remote=False) | shown | {lost.PART: "server"}
    return _spawn(command, own, settings.run / "server.log", settings.home)


def start_worker(settings: Settings, api: PrefectApi, url: str, *, remote: bool, started: list[Process]) -> Process:
    """Start this machine's worker, and beside it deploy what the server does not have yet; return the worker when it asks for
    runs.

    The worker is added to `started` as soon as there is one. Raise ServerDown.
    """
    name = socket.gethostname()
    command = [
        sys.executable, "-m", "prefect", "worker", "start", "--type", "process", "--install-policy", "never",
        "--pool", POOL, "--work-queue", QUEUE, "--name", name, "--limit", str(_RUNS_AT_ONCE),
    ]  # fmt: skip
    ours, output = environment(settings, url, remote=remote), settings.run / "worker.out"
    before = api.last_heartbeat(POOL, name)
    with contextlib.nullcontext() if _is_deployed(api) else _deploying(settings, ours, remote=remote) as deployed:
        worker = _spawn(command, ours | _workers_own(settings), output, project_folder())
        started.append(worker)
        if deployed is not None:
            deployed()
    _wait(settings, worker, output, lambda: api.last_heartbeat(POOL, name) != before)
    return worker


def _is_deployed(api: PrefectApi) -> bool:
    """Whether the server has exactly our deployments, as this very program wrote them."""
    version = project_version()
    there = {(one["name"], one["version"]) for one in api.deployments()}
    return there == {(one.label, version) for one in Deployment}


def deploy(settings: Settings, url: str, *, remote: bool) -> None:
    """Let the server have every deployment as `prefect.yaml` states it now, with what a person set. Raise ServerDown."""
    with _deploying(settings, environment(settings, url, remote=remote), remote=remote) as deployed:
        deployed()


@contextlib.contextmanager
def _deploying(settings: Settings, ours: dict[str, str], *, remote: bool) -> Iterator[Callable[[], None]]:
    """Run `deployments.deploy` beside the block, which gets a function that waits for its good end; end it with the block."""
    log = settings.run / "deploy.log"
    command = [sys.executable, "-m", "deployments.deploy", *(["--shared"] if remote else [])]
    with log.open("wb") as output:
        log.chmod(0o600)
        child = subprocess.Popen(
            command, env=ours, cwd=project_folder(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def wait() -> None:
        try:
            status = child.wait(_START_SECONDS)
        except subprocess.TimeoutExpired:
            status = None
        if status != 0:
            raise ServerDown(home=settings.home, reason=f"it did not accept the deployments ({_last_line(log)})", log=log)

    try:
        yield wait
    finally:
        child.kill()
        child.wait()


def environment(settings: Settings, url: str, *, remote: bool) -> dict[str, str]:
    """Return ours less what is Prefect's, and Prefect's settings for server and worker alike. Reasons: decision 0007."""
    secret = _auth_for(settings, remote=remote)
    given = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return {
        **(given | proxies.passing_by(given) if remote else proxies.for_children(given)),
        "MODELSHELF_HOME": str(settings.home),
        "PREFECT_HOME": str(settings.prefect_home),
        "PREFECT_PROFILES_PATH": str(settings.prefect_home / "profiles.toml"),
        "PREFECT_API_URL": f"{url}/api",
        "PREFECT_API_AUTH_STRING": secret,
        "PREFECT_API_SSL_CERT_FILE": _authorities(settings, url),
        "PREFECT_SERVER_API_AUTH_STRING": secret,
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": url,
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_V2_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_API_ENCRYPTION_KEY": server_secrets.block_key(settings),
        "PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS": "1",
        "PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS": "2",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(_RETENTION_DAYS * 86400),
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.25",  # a person reads along; by default two seconds
        "PYTHONUNBUFFERED": "1",
    }


def _workers_own(settings: Settings) -> dict[str, str]:
    """Return the settings by which all that the worker and its runs log is one JSON object a line in a file of its own.

    What they print beside that, tracebacks of a broken start among it, goes to `worker.out`. The `python3` of each run is this
    program's.
    """
    log = settings.run / "worker.log"
    log.touch(mode=0o600)
    return {
        lost.PART: "worker",
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PREFECT_WORKER_QUERY_SECONDS": str(_LOOK_SECONDS),
        "PREFECT_LOGGING_SETTINGS_PATH": str(project_folder() / "deployments" / "logging.yml"),
        "PREFECT_LOGGING_HANDLERS_CONSOLE_FILENAME": str(log),
    }


def _authorities(settings: Settings, url: str) -> str:
    """Return the file of certificates by which Prefect's clients trust the server.

    Each run makes half a dozen clients, and each reads the whole bundle (40 ms). Our own server speaks http on loopback:
    one certificate, that nothing is ever checked against, is enough.
    """
    bundle = os.environ.get("SSL_CERT_FILE") or certifi.where()
    if not url.startswith("http://127.0.0.1:"):
        return bundle
    end = "-----END CERTIFICATE-----"
    one = private_folder(settings.run) / "authority.pem"
    write_whole(one, Path(bundle).read_text().partition(end)[0] + end + "\n")
    return str(one)


def _auth_for(settings: Settings, *, remote: bool) -> str:
    """Return what the server asks: ours made its own, a remote one's was in the environment when it was named."""
    return server_secrets.remote_auth_string(settings) if remote else server_secrets.auth_string(settings)


def _spawn(command: list[str], environment: dict[str, str], log: Path, folder: Path) -> Process:
    with log.open("ab") as output:
        log.chmod(0o600)
        child = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    child.returncode = 0  # it outlives us
    found = processes.identify(child.pid)
    assert found is not None
    return found


def _wait(settings: Settings, process: Process, log: Path, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + _START_SECONDS
    while not holds():
        if not processes.alive(process):
            raise ServerDown(home=settings.home, reason=f"it ended immediately ({_last_line(log)})", log=log)
        if time.monotonic() > until:
            processes.stop(process, 5)
            raise ServerDown(home=settings.home, reason=f"it did not start within {_START_SECONDS:.0f} s", log=log)
        time.sleep(0.1)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "its log is empty"


def free_port(*preferred: int) -> int:
    """Return a port of loopback that is free now: the preferred one if it is."""
    for port in (*preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise AssertionError
