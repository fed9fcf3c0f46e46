"""The processes of an instance: all that carry its label, and all of the session that its engine was started in.

Engines start others: vLLM a process for each worker, Ollama one for each model. These outlive a first process that the
kernel kills, so an instance is known by its members and not by its first process.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from modelshelf.errors import ProcessesRemain
from modelshelf.nodes import processes
from modelshelf.nodes.processes import Process

_PROC = Path("/proc")
_KILL_SECONDS = 10.0
_DELETED = " (deleted)"
"""What the kernel appends to the name of a working folder that was removed (proc(5))."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A process with what tells its instance. A zombie without threads is not seen."""

    process: Process
    session: int
    label: str | None
    folder: Path | None
    """Its working folder."""

    def is_of(self, label: str, folder: Path) -> bool:
        """Return whether it carries the label, and does not work in the instance folder of a copy of this library."""
        copied = self.folder is not None and self.folder.name == label and self.folder != folder
        return self.label == label and not copied


def look() -> list[Seen]:
    """Return every process whose environment or working folder we may read."""
    return list(_look())


def members(seen: Sequence[Seen], label: str, folder: Path, first: Process | None, inside: Collection[int] = ()) -> list[Process]:
    """Return the processes of the instance with that label, its first process before the others.

    `folder` is the instance's own, `first` the process that was started for it, `inside` what its cgroup holds. A process
    that lost the label, because it wrote its title over its environment, belongs to the instance if it is in the session of
    the first process.
    """
    labelled = [one for one in seen if one.is_of(label, folder)]
    sessions = {one.session for one in labelled if one.session == one.process.pid}
    if first is not None:
        session = [one for one in seen if one.session == first.pid]
        # a number is not given to another process while its session has members; these prove that it is still that session
        proven = any(one.is_of(label, folder) or one.folder == folder for one in session) and not processes.exists(first.pid)
        if proven or processes.exists_as(first):
            sessions.add(first.pid)
    ours = {one.process for one in labelled}
    ours |= {one.process for one in seen if one.session in sessions or one.process.pid in inside}
    ours = {one for one in ours if one.pid != os.getpid()}
    return sorted(ours, key=lambda one: (one.pid not in sessions, one.started, one.pid))


def leader(seen: Sequence[Seen], label: str, folder: Path) -> Process | None:
    """Return the oldest process with that label that leads a session: the one that was started for the instance."""
    leading = [one.process for one in seen if one.is_of(label, folder) and one.session == one.process.pid]
    return min(leading, key=lambda one: one.started, default=None)


def labels(seen: Iterable[Seen], folder: Path) -> set[str]:
    """Return the labels of which a process works in a folder of that name below `folder`, or carries the label of one."""
    folder = folder.resolve()
    working = {one.folder.name for one in seen if one.folder is not None and one.folder.parent == folder}
    carried = {one.label for one in seen if one.label is not None and one.is_of(one.label, folder / one.label)}
    return working | {label for label in carried if (folder / label).is_dir()}


def end(find: Callable[[], Sequence[Process]], seconds: float, instance: str) -> None:
    """End every process that `find` returns: SIGTERM to each, SIGKILL after `seconds`. Raises ProcessesRemain."""
    for number, patience in ((signal.SIGTERM, seconds), (signal.SIGKILL, _KILL_SECONDS)):
        until = time.monotonic() + patience
        signalled: set[Process] = set()
        while found := find():
            for process in found:
                if process not in signalled:
                    processes.send(process, number)
            signalled.update(found)
            if (left := until - time.monotonic()) <= 0:
                break
            _wait_for_one(found, min(left, 0.5))
        if not found:
            return
    pids = ", ".join(str(one.pid) for one in found)
    raise ProcessesRemain(instance=instance, pids=pids, seconds=f"{_KILL_SECONDS:.0f}")


def _wait_for_one(found: Sequence[Process], seconds: float) -> None:
    """Return when one of them has ended, or after `seconds`."""
    poll = select.poll()
    descriptors = []
    try:
        for process in found:
            with suppress(ProcessLookupError):
                descriptors.append(os.pidfd_open(process.pid))
                poll.register(descriptors[-1], select.POLLIN)
        if len(descriptors) == len(found):
            poll.poll(seconds * 1000)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def _look() -> Iterator[Seen]:
    boot = processes.boot()
    for entry in _PROC.iterdir():
        if not entry.name.isdigit():
            continue
        fields = processes.stat_fields(int(entry.name))
        if fields is None or (fields[0] in "ZX" and not _has_living_threads(entry)):
            continue
        label = folder = None
        with suppress(OSError):  # another user's, or gone meanwhile
            label = _label(entry)
        with suppress(OSError):
            folder = Path(str((entry / "cwd").readlink()).removesuffix(_DELETED))
        yield Seen(Process(int(entry.name), int(fields[19]), boot), int(fields[3]), label, folder)


def _label(entry: Path) -> str | None:
    mark = f"{processes.LABEL}=".encode()
    for pair in (entry / "environ").read_bytes().split(b"\0"):
        if pair.startswith(mark):
            return pair.removeprefix(mark).decode(errors="replace")
    return None


def _has_living_threads(entry: Path) -> bool:
    """A first thread can end while others of its process still run, and hold its memory."""
    try:
        states = [_state(task) for task in (entry / "task").iterdir()]
    except OSError:
        return False
    return any(state not in "ZX" for state in states)


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
