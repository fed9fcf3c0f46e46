"""A Prefect server and a runner on this machine: found, started, stopped.

They bind to loopback, ask for a secret, take no request that another web page sends, and keep the key that encrypts blocks
outside the database. Each runs in a session of its own: Ctrl-C in a terminal does not reach them.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi

from modelshelf import __version__
from modelshelf.cli import lost, server_secrets, ui
from modelshelf.cli.errors import BadStateFile, ProgramMoved, ServerDown
from modelshelf.durable import write_whole
from modelshelf.errors import BadSecret, CatalogUnknown, Unavailable
from modelshelf.nodes import processes
from modelshelf.nodes.processes import Process
from modelshelf.settings import Settings, default_catalog, private_folder
from modelshelf.wire import proxies

if TYPE_CHECKING:
    from modelshelf.cli.prefect_api import PrefectApi

_START_SECONDS = 120.0
_DRAIN_SECONDS = 40.0
_PREFERRED_PORT = 4200
_PORTS_TRIED = 3

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Program:
    """What a runner was started from: each of its runs is started from there again."""

    python: str
    project: str
    home: str
    version: str

    @classmethod
    def here(cls, settings: Settings) -> Program:
        return cls(sys.executable, str(project_folder()), str(settings.home), __version__)

    def why_unfit(self, settings: Settings) -> str | None:
        """Return why runs of this runner would crash; None if they would not."""
        if self.home != str(settings.home):
            return f"they were started for {self.home}"
        for path in (self.python, self.project):
            if not Path(path).exists():
                return f"they were started from {path}, which is gone"
        if self.version != __version__:
            return f"they run modelshelf {self.version}, and this is {__version__}"
        return None


@dataclass(frozen=True, slots=True)
class Running:
    """What `run/server.json` says: where the server is, and which processes are ours.

    `server` is None for a remote one, `runner` where workers run the flows.
    """

    url: str
    server: Process | None
    runner: Process | None
    program: Program | None = None

    @classmethod
    def read(cls, settings: Settings) -> Running | None:
        """Return None if nothing was started. Raises BadStateFile."""
        file = settings.run / "server.json"
        try:
            found: dict[str, Any] = json.loads(file.read_text())
            server, runner = (Process(**found[role]) if found[role] else None for role in ("server", "runner"))
            program = Program(**found["program"]) if found.get("program") else None
            return cls(str(found["url"]), server, runner, program)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it does not name a server's address and processes"
            raise BadStateFile(path=file, reason=reason) from error

    def write(self, settings: Settings) -> None:
        file = private_folder(settings.run) / "server.json"
        write_whole(file, json.dumps(asdict(self)))

    def require_fit(self, settings: Settings) -> None:
        """Raise ProgramMoved if the program or the home was moved or replaced under what runs."""
        if self.program is not None and (reason := self.program.why_unfit(settings)) is not None:
            raise ProgramMoved(home=settings.home, reason=reason)

    @property
    def alive(self) -> bool:
        return all(processes.alive(one) for one in (self.runner, self.server) if one is not None)


def project_folder() -> Path:
    """Where `prefect.yaml` and the flows lie: the checkout, or what the wheel carries."""
    package = Path(__file__).parent.parent
    return package.parent if (package.parent / "prefect.yaml").exists() else package / "project"


def find(settings: Settings) -> PrefectApi | None:
    """The server that is up for this home; None if there is none."""
    running = Running.read(settings)
    if running is None or not running.alive:
        return None
    api = _api(settings, running.url, remote=running.server is None)
    return api if api.is_healthy() else None


def ensure(settings: Settings, say: Say, *, remote: str = "", take_over: bool = False) -> PrefectApi:
    """A server that is up, and a runner that serves every deployment: the ones there are, or new ones in the background."""
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
        runner = "workers run its flows" if settings.workers else "with a runner"
        if remote:
            server_secrets.keep_remote_auth_string(settings, os.environ.get("PREFECT_API_AUTH_STRING", ""))
            say(f"Joining the Prefect server {remote}, {runner} (`modelshelf down` does not stop that server) …")
        else:
            say(f"Starting a Prefect server in the background, {runner} (`modelshelf down` stops it) …")
        started = time.time()
        api = _start_somewhere(settings, remote)
        if not remote and not settings.workers:  # a worker may run on another machine, and outlives its server
            for run in lost.conclude(api, started=started):
                say(f"{run['name']} was interrupted: its process is gone. Resume it: modelshelf retry {run['id'][:8]}")
        return api


def deploy(settings: Settings, say: Say) -> PrefectApi:
    """The server that is up, or is started, has every deployment as `prefect.yaml` states it now."""
    running, api = Running.read(settings), find(settings)
    if running is None or api is None:
        return ensure(settings, say)
    _deploy(settings, api, _environment(settings, running.url, remote=running.server is None))
    return api


def prepare(settings: Settings, *, take_over: bool = False) -> None:
    """The home folder, the catalog's shape and the secrets are there; its store and node are this home's."""
    from modelshelf.library.opening import migrate

    migrate(settings, take_over=take_over)
    private_folder(settings.prefect_home)
    private_folder(settings.run)
    server_secrets.auth_string(settings)


def stop(settings: Settings, say: Say) -> bool:
    """Nothing of ours runs any more but the engines: runs were cancelled and waited for. False if nothing ran."""
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
                _drain(api, say, ours=running.server is not None and not settings.workers)
            except Unavailable as error:  # it is stopped all the same: a full disk would keep it for ever
                say(f"{error} Its runs are not waited for.")
        stop_processes(settings)
        return True


def stop_processes(settings: Settings) -> None:
    """Runner first, then server: a server without its runner loses nothing."""
    running = Running.read(settings)
    recorded = [running.runner, running.server] if running is not None else []
    for process in (*recorded, *lost.parts(settings.home)):  # those of a command that was killed before it recorded them
        if process is not None:
            processes.stop(process, 15)
    (settings.run / "server.json").unlink(missing_ok=True)


def _drain(api: PrefectApi, say: Say, *, ours: bool) -> None:
    """Cancel what runs and wait for it; `ours` says that a run without a process on this machine is not waited for."""
    from modelshelf.cli.prefect_api import FINAL

    if ours:
        lost.conclude(api)

    active = [run for run in api.runs(200) if run["state_type"] not in {*FINAL, "SCHEDULED"}]  # what has not begun can wait
    for run in active:
        say(f"Cancelling {run['name']} …")
        api.set_state(run["id"], "CANCELLING", "modelshelf down")
    until = time.monotonic() + _DRAIN_SECONDS
    while active and time.monotonic() < until:
        time.sleep(0.25)
        active = [run for run in active if api.run(run["id"])["state_type"] not in FINAL]


def _start_somewhere(settings: Settings, remote: str) -> PrefectApi:
    """Start on the preferred port, or on another where a server of somebody else takes it between our look and ours."""
    log = settings.run / "server.log"
    for port in (_free_port(_PREFERRED_PORT), *(0,) * _PORTS_TRIED):
        before = log.stat().st_size if log.exists() else 0
        try:
            return _start(settings, remote, port or _free_port())
        except ServerDown:
            if remote or b"already in use" not in log.read_bytes()[before:]:
                raise
    return _start(settings, remote, _free_port())


def _start(settings: Settings, remote: str, port: int) -> PrefectApi:
    url = remote or f"http://127.0.0.1:{port}"
    environment = _environment(settings, url, remote=bool(remote))
    api = _api(settings, url, remote=bool(remote))
    if remote:
        api.require()
    started: list[Process] = []
    try:
        if not remote:
            command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
            shown = {"PREFECT_UI_STATIC_DIRECTORY": str(made)} if (made := ui.folder()) is not None else {}
            own = environment | shown | {lost.PART: "server"}
            started.append(_spawn(command, own, settings.run / "server.log", settings.home))
        server = started[0] if started else None
        _wait(settings, server, settings.run / "server.log", api.is_healthy)
        runner = None
        if settings.workers:
            _deploy(settings, api, environment)
        else:
            command = [sys.executable, "-m", "deployments.serve"]
            runner = _spawn(command, environment | _runners_own(settings), settings.run / "runner.out", project_folder())
            started.append(runner)
            stated = {one["entrypoint"] for one in _stated_deployments()}
            _wait(
                settings,
                runner,
                settings.run / "runner.out",
                lambda: stated <= {one["entrypoint"] for one in api.deployments() if one["status"] == "READY"},
            )
    except BaseException:
        for process in reversed(started):
            processes.stop(process, 5)
        raise
    Running(url, server, runner, Program.here(settings)).write(settings)
    return api


def _deploy(settings: Settings, api: PrefectApi, environment: dict[str, str]) -> None:
    """Write every deployment as `prefect.yaml` states it, for workers of its work pool or for our runner.

    What a person set in the UI stays: schedules, parameters, and whether the deployment is paused.
    """
    log = settings.run / "deploy.log"
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    pool = [*prefect, "work-pool", "create", work_pool(), "--type", "process", "--overwrite"]
    ours = [sys.executable, "-m", "deployments.serve"]
    commands = [[*ours, "blocks"], pool, [*prefect, "deploy", "--all"]] if settings.workers else [[*ours, "once"]]
    before = api.deployments() if settings.workers else []  # our own runner keeps them by itself
    with log.open("wb") as output:
        log.chmod(0o600)
        for command in commands:
            done = subprocess.run(
                command, env=environment, cwd=project_folder(), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                check=False,
            )  # fmt: skip
            if done.returncode != 0:
                raise ServerDown(home=settings.home, reason=f"it did not accept the deployments ({_last_line(log)})", log=log)
    for deployment in before:
        api.keep_what_a_person_set(deployment)


def work_pool() -> str:
    """The one that every deployment names."""
    (name,) = {one["work_pool"]["name"] for one in _stated_deployments()}
    return str(name)


def _stated_deployments() -> list[dict[str, Any]]:
    import yaml

    return list(yaml.safe_load((project_folder() / "prefect.yaml").read_text())["deployments"])


def _environment(settings: Settings, url: str, *, remote: bool) -> dict[str, str]:
    """Ours less what is Prefect's, and Prefect's settings for server and runner alike. Reasons are in docs/decisions."""
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
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_LOGGING_SERVER_LEVEL": "WARNING",
        "PREFECT_LOGGING_TO_API_BATCH_INTERVAL": "0.25",  # a person reads along; by default two seconds
        "PYTHONUNBUFFERED": "1",
    }


def _authorities(settings: Settings, url: str) -> str:
    """The certificates by which Prefect's clients trust the server.

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


def _api(settings: Settings, url: str, *, remote: bool) -> PrefectApi:
    from modelshelf.cli.prefect_api import PrefectApi  # an HTTP client: `status` needs none

    return PrefectApi(url, _auth_for(settings, remote=remote))


def _auth_for(settings: Settings, *, remote: bool) -> str:
    """What the server asks: ours made its own, a remote one's was in the environment when it was named."""
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


def _wait(settings: Settings, process: Process | None, log: Path, holds: Callable[[], bool]) -> None:
    until = time.monotonic() + _START_SECONDS
    while not holds():
        if process is not None and not processes.alive(process):
            raise ServerDown(home=settings.home, reason=f"it ended immediately ({_last_line(log)})", log=log)
        if time.monotonic() > until:
            if process is not None:
                processes.stop(process, 5)
            raise ServerDown(home=settings.home, reason=f"it did not start within {_START_SECONDS:.0f} s", log=log)
        time.sleep(0.1)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "its log is empty"


def _runners_own(settings: Settings) -> dict[str, str]:
    """Return the settings by which all that the runner and its runs log is one JSON object a line in a file of its own.

    What they print beside that, tracebacks of a broken start among it, goes to `runner.out`.
    """
    log = settings.run / "runner.log"
    log.touch(mode=0o600)
    return {
        lost.PART: "runner",
        "PREFECT_LOGGING_SETTINGS_PATH": str(project_folder() / "deployments" / "logging.yml"),
        "PREFECT_LOGGING_HANDLERS_CONSOLE_FILENAME": str(log),
    }


def _free_port(*preferred: int) -> int:
    """Return a port of loopback that is free now: the preferred one if it is."""
    for port in (*preferred, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise AssertionError


@contextlib.contextmanager
def _one_at_a_time(settings: Settings) -> Iterator[None]:
    """Two commands that both find no server start one."""
    file = private_folder(private_folder(settings.home) / "run") / "lock"
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
