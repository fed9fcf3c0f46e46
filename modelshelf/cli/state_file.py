"""What runs for a home: `run/server.json`, its Prefect server, its worker, and the program that they were started from."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from modelshelf import __version__
from modelshelf.cli.errors import BadStateFile, ProgramMoved
from modelshelf.durable import write_whole
from modelshelf.nodes import processes
from modelshelf.nodes.processes import Process
from modelshelf.settings import Settings, private_folder


@dataclass(frozen=True, slots=True)
class Program:
    """What a worker was started from: each of its runs is started from there again."""

    python: str
    project: str
    home: str
    version: str

    @classmethod
    def here(cls, settings: Settings) -> Program:
        return cls(sys.executable, str(project_folder()), str(settings.home), __version__)

    def why_unfit(self, settings: Settings) -> str | None:
        """Return why runs of this worker would crash; None if they would not."""
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
    """What the state file records: where the server is, and which processes are ours.

    `server` is None for a remote one. `runner` is what executed the runs before there were workers: it has no worker.
    """

    url: str
    server: Process | None
    worker: Process | None
    program: Program | None = None
    runner: Process | None = None

    @classmethod
    def read(cls, settings: Settings) -> Running | None:
        """Return what was started, also by an earlier version; None if nothing was. Raise BadStateFile."""
        file = settings.run / "server.json"
        try:
            found = dict(json.loads(file.read_text()))
            executes = "worker" if "worker" in found else "runner"
            parts = {role: Process(**found[role]) if found[role] else None for role in ("server", executes)}
            program = Program(**found["program"]) if found.get("program") else None
            return cls(str(found["url"]), **{"worker": None, **parts}, program=program)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it does not name a server's address and processes"
            raise BadStateFile(path=file, reason=reason) from error

    def write(self, settings: Settings) -> None:
        """Write the state file."""
        file = private_folder(settings.run) / "server.json"
        write_whole(file, json.dumps(asdict(self)))

    def require_fit(self, settings: Settings) -> None:
        """Raise ProgramMoved if the program or the home was moved or replaced under what runs."""
        if self.worker is None:
            raise ProgramMoved(home=settings.home, reason="an earlier modelshelf started them, without a worker")
        if self.program is not None and (reason := self.program.why_unfit(settings)) is not None:
            raise ProgramMoved(home=settings.home, reason=reason)

    @property
    def parts(self) -> tuple[Process, ...]:
        """What is ours, in the order in which it is stopped: a server without its worker loses nothing."""
        return tuple(one for one in (self.worker, self.runner, self.server) if one is not None)

    @property
    def alive(self) -> bool:
        """Whether every process lives."""
        return all(processes.alive(one) for one in self.parts)


def project_version() -> str:
    """Return the version that each deployment is written with: ours, and eight digits of the digest of the whole program."""
    digest = hashlib.sha256()
    package, project = Path(__file__).parent.parent, project_folder()
    folders = {package, *(project / name for name in ("flows", "tasks", "blocks", "deployments"))}
    for file in (project / "prefect.yaml", *sorted(path for folder in folders for path in folder.rglob("*.py"))):
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)}\n".encode() + content)
    return f"{__version__}-{digest.hexdigest()[:8]}"


def project_folder() -> Path:
    """Return the folder of `prefect.yaml` and the flows: the checkout, or what the wheel carries."""
    package = Path(__file__).parent.parent
    return package.parent if (package.parent / "prefect.yaml").exists() else package / "project"
