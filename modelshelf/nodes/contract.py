"""What every node keeps true: a replica is complete or absent, and a process is the one that we started or none."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from modelshelf.digest import Digest
from modelshelf.engines.contract import Command
from modelshelf.formats.image import PackedFile
from modelshelf.stop import StopToken


@dataclass(frozen=True, slots=True)
class Process:
    """A process that we started: a pid alone may be somebody else's by now, together with its start it is not."""

    pid: int
    started: int
    """Clock ticks from the machine's boot to the process's start (proc(5), field 22)."""
    boot: str
    """Which boot of the machine that was."""


class Replicas(Protocol):
    """The replicas of one machine, by image digest: complete or absent."""

    def alone_at(self, image: Digest, stop: StopToken | None = None) -> AbstractContextManager[None]:
        """Nobody else fills, replaces or removes this image's replica within, however long one of them was paused."""

    def holds(self, image: Digest, files: Sequence[PackedFile]) -> bool:
        """Whether the replica is complete, and its files are the store's own or proven copies of them."""

    def bytes_to_copy(self, files: Sequence[PackedFile]) -> int:
        """Return the bytes that a replica of these files would take beside the store: 0 where they can be links."""

    def fill(self, image: Digest, files: Sequence[PackedFile], stop: StopToken) -> Path:
        """Return the folder of a complete replica, from before or made now; until it is complete, nothing is visible.

        The caller is within `alone_at` of the image, and has looked inside it whether it is still meant.
        """

    def files_of(self, image: Digest) -> Path:
        """Return where the files of its replica are, if it holds one."""

    def evict(self, image: Digest) -> None:
        """Remove the replica. The caller is within `alone_at` of the image, and has looked whether it is still meant."""

    def list(self) -> Collection[Digest]:
        """Return the images that have files here: a replica, or what a fill or a removal that was killed left of one."""


class Node(Protocol):
    """One machine: its replicas, and engines by the label they were started with."""

    replicas: Replicas

    def running(self) -> dict[str, list[Process]]:
        """Return the labels of the instances of its folders that have a running process, each with all of them."""

    def start(self, label: str, command: Command, log: Path) -> Process:
        """Return the engine's first process. A running engine is found again, also after a crash of ours.

        What is left of an engine whose first process died is ended before another is started. Raises ProcessesRemain.
        """

    def require_memory_limit(self) -> None:
        """Raise NoMemoryLimit, with the reason, if the memory of an instance cannot be limited on this machine."""

    def exceeded_memory(self, label: str) -> bool:
        """Return whether the kernel killed the instance's engine because it needed more memory than its limit."""

    def find(self, label: str) -> Process | None:
        """Return the first process of the instance, whoever started it; None if it does not run."""

    def members(self, label: str) -> list[Process]:
        """Return every process of the instance, also those that outlived its first process."""

    def alive(self, process: Process) -> bool:
        """It is still that process, and not a zombie."""

    def listens(self, label: str, port: int) -> bool:
        """Return whether a process of the instance listens at the port, and not another program; True if that cannot be seen."""

    def stop(self, label: str, seconds: float) -> None:
        """End every process of the instance: SIGTERM, SIGKILL after `seconds`. Raises ProcessesRemain."""
