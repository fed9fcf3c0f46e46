"""Processes of their own: they outlive the run that started them, and are never mistaken for another.

An engine carries its label in its environment. So an engine that was started just before its starter was killed is found
again, and starting twice gives one.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modelshelf.engines.contract import Command
from modelshelf.errors import EngineMissing
from modelshelf.nodes import logs


@dataclass(frozen=True, slots=True)
class Process:
    """A process that we started: a pid alone may be somebody else's by now, together with its start it is not."""

    pid: int
    started: int
    """Clock ticks from the machine's boot to the process's start (proc(5), field 22)."""
    boot: str
    """Which boot of the machine that was."""


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
_STATUS_SECONDS = 1.0
"""The kernel reports the end of a process when its last thread has ended, some time after its first."""


def spawn(
    label: str, command: Command, log: Path, *, prefix: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> Process:
    """Run the command in a session of its own, with an environment built from scratch and its output in a fresh `log`.

    `prefix` is a program that runs the command within limits, `environment` what that program needs.
    """
    kept = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    logs.begin(log, command.arguments)
    with log.open("ab", buffering=0) as output:
        try:
            child = subprocess.Popen(
                [*prefix, *command.arguments],
                env={**kept, **(environment or {}), **command.environment, LABEL: label},
                cwd=log.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            executable = command.arguments[0]
            raise EngineMissing(
                engine=executable, reason=error.strerror, advice="Install the engine, or name another executable."
            ) from error
    if command.cpus:
        try:
            os.sched_setaffinity(child.pid, sorted(os.sched_getaffinity(0))[: command.cpus])
        except ProcessLookupError:  # it has ended already: the wait for it reports that
            pass
    child.returncode = 0  # not ours to wait for: it outlives us; a zombie counts as dead
    found = identify(child.pid)
    return found if found is not None else Process(child.pid, 0, boot())


def identify(pid: int) -> Process | None:
    """Return the process that has this pid now; None if there is none, or if it is a zombie."""
    fields = stat_fields(pid)
    return Process(pid, int(fields[19]), boot()) if fields is not None and fields[0] not in "ZX" else None


def alive(process: Process) -> bool:
    return identify(process.pid) == process


def exists(pid: int) -> bool:
    """Return whether a process has this pid, a zombie included."""
    return stat_fields(pid) is not None


def exists_as(process: Process) -> bool:
    """Return whether it is still that process, running or a zombie."""
    fields = stat_fields(process.pid)
    return fields is not None and Process(process.pid, int(fields[19]), boot()) == process


def send(process: Process, number: signal.Signals) -> None:
    """Send the signal, if it is still that process: never to another that has its pid by now."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if exists_as(process):
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def stop(process: Process, seconds: float) -> None:
    """End the process and its group: SIGTERM, SIGKILL after `seconds`; never another process that has its pid by now."""
    for signal_number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, 10.0)):
        if not alive(process):
            return
        os.killpg(process.pid, signal_number)
        _wait_until_gone(process, patience)


def exit_status(pid: int) -> str:
    """Return how a child of ours ended: `1`, or `-6, SIGABRT`; "unknown" if it is no child, or has not ended within a second."""
    until = time.monotonic() + _STATUS_SECONDS
    while True:
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            return "unknown"
        if done:
            code = os.waitstatus_to_exitcode(status)
            return f"{code}, {signal.Signals(-code).name}" if code < 0 else str(code)
        if time.monotonic() > until:
            return "unknown"
        time.sleep(0.01)


def stat_fields(pid: int) -> list[str] | None:
    """Return what follows the name in `/proc/PID/stat`, from the state on (proc(5)); None if there is no such process."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def boot() -> str:
    """Return which boot of the machine this is."""
    return (_PROC / "sys/kernel/random/boot_id").read_text().strip()


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
