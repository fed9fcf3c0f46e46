"""The most memory that an instance may use, for all its processes together.

A limit is a child of a cgroup v2 folder that we may write in, or a scope that systemd makes. There is no substitute for these:
RLIMIT_DATA holds for each process by itself, and counts address space that is only reserved (setrlimit(2)).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from modelshelf.errors import NoMemoryLimit

_CGROUPS = Path("/sys/fs/cgroup")
_RESULT_SECONDS = 1.0
"""systemd hears of the end of a scope some time after its processes have ended."""
_FOR_SYSTEMD = ("XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS")
_ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
"""The shell enters the cgroup and becomes the engine, so that no process of it starts outside."""


@dataclass(frozen=True, slots=True)
class Within:
    """The program that runs a command within a limit, and what that program needs in its environment."""

    prefix: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """How this machine keeps limits. `cgroup` is the folder that its settings name, None for none."""

    cgroup: Path | None = None

    def require(self) -> None:
        """Raise NoMemoryLimit, with the reason, if no limit can be kept."""
        if self.cgroup is not None:
            if (reason := _why_not(self.cgroup)) is not None:
                raise NoMemoryLimit(reason=reason)
        elif (reason := _why_no_systemd()) is not None:
            raise NoMemoryLimit(reason=f"no `cgroup` is set, and {reason}")

    def within(self, label: str, memory: int) -> Within:
        """Return what runs an engine with this label in at most `memory` bytes. Raises NoMemoryLimit."""
        self.require()
        if self.cgroup is None:
            return _scope(label, memory)
        child = self._child(self.cgroup, label)
        try:
            child.mkdir(exist_ok=True)
            (child / "memory.max").write_text(f"{memory}\n")
            for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):  # absent where swap is not counted
                if (child / name).exists():
                    (child / name).write_text(f"{value}\n")
        except OSError as error:
            raise NoMemoryLimit(reason=f"{child} could not be set up ({error.strerror})") from error
        return Within(("/bin/sh", "-c", _ENTER, str(child)))

    def pids(self, label: str) -> set[int]:
        """Return the processes in the instance's cgroup, also those that lost label and session."""
        if self.cgroup is None:
            return set()
        try:
            return {int(line) for line in (self._child(self.cgroup, label) / "cgroup.procs").read_text().split()}
        except (OSError, ValueError):
            return set()

    def exceeded(self, label: str) -> bool:
        """Return whether the kernel killed the engine that was started last because it needed more than its limit."""
        if self.cgroup is None:
            return _scope_result(label) == "oom-kill"
        try:
            events = (self._child(self.cgroup, label) / "memory.events").read_text()
            return any(name == "oom_kill" and int(count) > 0 for name, count in map(str.split, events.splitlines()))
        except (OSError, ValueError):
            return False

    def forget(self, label: str) -> None:
        """Remove the instance's cgroup, if there is one. Precondition: none of its processes is left."""
        if self.cgroup is None:
            if _why_no_systemd() is None:  # a failed scope keeps its name
                _systemctl("reset-failed", _unit(label))
            return
        with suppress(OSError):  # an empty cgroup is removed by rmdir, whatever files it shows
            self._child(self.cgroup, label).rmdir()

    @staticmethod
    def _child(cgroup: Path, label: str) -> Path:
        return cgroup / f"modelshelf-{label}"


def _why_not(cgroup: Path) -> str | None:
    """Why no child with a limit can be made in the folder."""
    try:
        controllers = (cgroup / "cgroup.subtree_control").read_text().split()
    except OSError as error:
        return f"{cgroup} is not a cgroup v2 folder ({error.strerror})"
    if "memory" not in controllers:
        return f"the controller `memory` is not enabled in {cgroup}/cgroup.subtree_control"
    if not os.access(cgroup, os.W_OK | os.X_OK):
        return f"this user may not write to {cgroup}"
    return None


def _why_no_systemd() -> str | None:
    """Why systemd can make no scope with a limit for us."""
    try:
        if "memory" not in (_CGROUPS / "cgroup.controllers").read_text().split():
            return f"{_CGROUPS} has no controller `memory`"
    except OSError:
        return f"{_CGROUPS} is not cgroup v2"
    if shutil.which("systemd-run") is None:
        return "there is no `systemd-run`"
    return None if _manager().exists() else "no systemd answers for this user"


def _manager() -> Path:
    """The socket of the systemd that makes scopes for us: the user's own, or the system's for root."""
    if os.geteuid() == 0:
        return Path("/run/systemd/private")
    return Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")) / "systemd" / "private"


def _scope(label: str, memory: int) -> Within:
    """`systemd-run --scope` makes the scope and becomes the command."""
    limits = ("-p", f"MemoryMax={memory}", "-p", "MemorySwapMax=0")
    prefix = ("systemd-run", *_of_user(), "--scope", "--quiet", f"--unit={_unit(label)}", *limits, "--")
    return Within(prefix, {name: os.environ[name] for name in _FOR_SYSTEMD if name in os.environ})


def _scope_result(label: str) -> str:
    """Return systemd's word for how the scope ended; empty if systemd does not know it. Source: systemd.scope(5), OOMPolicy."""
    until = time.monotonic() + _RESULT_SECONDS
    while _why_no_systemd() is None:
        shown = _systemctl("show", "--property=ActiveState", "--property=Result", _unit(label))
        found = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        if found.get("ActiveState") != "active" or time.monotonic() > until:
            return found.get("Result", "")
        time.sleep(0.05)
    return ""


def _systemctl(*arguments: str) -> str:
    """Return what it prints; empty if it fails."""
    try:
        done = subprocess.run(("systemctl", *_of_user(), *arguments), capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _unit(label: str) -> str:
    return f"modelshelf-{label}.scope"


def _of_user() -> tuple[str, ...]:
    return () if os.geteuid() == 0 else ("--user",)
