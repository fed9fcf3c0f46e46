"""Engines as processes of their own: they outlive the flow that started them, and are never mistaken for another.

A process carries its label in its environment. So an engine that was started just before its starter was killed is
found again, and starting twice gives one.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import time
from pathlib import Path

from modelshelf.engines.contract import Command
from modelshelf.errors import EngineMissing
from modelshelf.nodes.contract import Process

LABEL = "MODELSHELF_INSTANCE"
_PASSED_ON = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
)
_PROC = Path("/proc")


def spawn(label: str, command: Command, log: Path) -> Process:
    """The command runs in a session of its own, with an environment built from scratch, its output in `log`."""
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment |= {**command.environment, LABEL: label}
    with log.open("ab", buffering=0) as output:
        log.chmod(0o600)
        try:
            child = subprocess.Popen(
                command.arguments,
                env=environment,
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            executable = command.arguments[0]
            raise EngineMissing(engine=executable, reason=error.strerror, advice="Install it, or name another.") from error
    _limit(child.pid, command)
    child.returncode = 0  # not ours to wait for: it outlives us; a zombie counts as dead
    found = identify(child.pid)
    return found if found is not None else Process(child.pid, 0, _boot())


def _limit(pid: int, command: Command) -> None:
    """It stays within its processors and its memory; weights that are mapped from files do not count (setrlimit(2))."""
    try:
        if command.cpus:
            os.sched_setaffinity(pid, sorted(os.sched_getaffinity(0))[: command.cpus])
        if command.memory:
            resource.prlimit(pid, resource.RLIMIT_DATA, (command.memory, command.memory))
    except ProcessLookupError:  # it has ended already: whoever waits for it will see
        return


def identify(pid: int) -> Process | None:
    """The process that has this pid now; None if there is none, or if it is a zombie."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(pid, int(fields[19]), _boot()) if fields[0] not in "ZX" else None


def alive(process: Process) -> bool:
    return identify(process.pid) == process


def find(label: str) -> Process | None:
    """The process that carries the label, whoever started it."""
    wanted = f"{LABEL}={label}".encode()
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environment = (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # another user's, or gone meanwhile
            continue
        if wanted not in environment or (found := identify(int(entry.name))) is None:
            continue
        if os.getsid(found.pid) == found.pid:  # the engine itself, not a child of it
            return found
    return None


def running_below(folder: Path) -> dict[str, Process]:
    """The engines whose working folder is a folder in this one, by the label that they carry."""
    found: dict[str, Process] = {}
    for entry in _PROC.iterdir():
        try:
            own = (entry / "cwd").readlink() if entry.name.isdigit() else None
        except OSError:  # another user's, or gone meanwhile
            continue
        if own is None or own.parent != folder.resolve():
            continue
        if (process := find(own.name)) is not None:
            found[own.name] = process
    return found


def stop(process: Process, seconds: float) -> None:
    """It has ended: asked by SIGTERM, killed after `seconds`; never another process that has its pid by now."""
    for signal_number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        if not alive(process):
            return
        os.killpg(process.pid, signal_number)
        _wait_until_gone(process, patience)


def exit_status(pid: int) -> str:
    """How a child of ours ended, if it is ours to know."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return "unknown"
    return str(os.waitstatus_to_exitcode(status)) if done else "unknown"


def _wait_until_gone(process: Process, seconds: float) -> None:
    until = time.monotonic() + seconds
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while alive(process) and (left := until - time.monotonic()) > 0:
            poll.poll(min(left, 0.5) * 1000)
    finally:
        os.close(descriptor)


def _boot() -> str:
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()
