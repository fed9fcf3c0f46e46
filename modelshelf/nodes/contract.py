"""What every node keeps true: a replica is complete or absent, and a label has one engine or none."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from modelshelf.digest import Digest
from modelshelf.engines.contract import Command, Layout, Surroundings
from modelshelf.formats.image import PackedFile
from modelshelf.names import FilePath
from modelshelf.stop import StopToken
from modelshelf.transfer.contract import Body


@dataclass(frozen=True, slots=True)
class Running:
    """An engine that runs.

    `handle` is a JSON object as text: which engine it is, in the node's own terms. Others record, compare and show it.
    `parts` lists what it consists of, in words.
    """

    handle: str
    parts: str


@dataclass(frozen=True, slots=True)
class Ended:
    """An engine that has ended, and what is left of it, in words."""

    parts: str


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

    def free_bytes(self) -> int:
        """Return the free space where replicas are."""

    def evict(self, image: Digest) -> None:
        """Remove the replica. The caller is within `alone_at` of the image, and has looked whether it is still meant."""

    def list(self) -> Collection[Digest]:
        """Return the images that have files here: a replica, or what a fill or a removal that was killed left of one."""


class OwnFiles(Protocol):
    """The files below a folder that an engine writes into, also while it runs. Paths are below that folder."""

    def list(self, below: FilePath) -> Iterator[tuple[FilePath, int]]:
        """Yield each file below a folder, by its path below it, with its size in bytes; links are left out."""

    def open(self, path: FilePath) -> BinaryIO:
        """Return the file for reading. Raises OSError."""

    def body(self, path: FilePath, *, what: str, whose: str) -> Body | None:
        """Return the file as it is now, to be imported under these names; None if there is none."""


class Engines(Protocol):
    """The engines of one machine, by the label that each was started under: a label has at most one.

    A label's engine is all that was started for it, also what outlives its first process.
    """

    def require_memory_limit(self) -> None:
        """Raise NoMemoryLimit, with the reason, if the memory of an engine cannot be limited on this machine."""

    def choose_port(self, bind: str, wanted: int, before: int | None = None) -> int:
        """Return `wanted`, else the port that it had before, if that is free, else a free one; 0 is none wanted.

        Raises PortTaken for a port that is wanted and taken, BadSetting if this machine has no such address.
        """

    def require(self, engine: str) -> tuple[str, ...]:
        """Return the program that the engine is here, with its first arguments. Raises EngineMissing, with what to install."""

    def prepare(
        self, label: str, models: Sequence[Digest | Path], layout: Layout | None, *, bind: str, port: int, key: str
    ) -> Surroundings:
        """Lay out what the label's engine needs in its own folder, and return where it finds everything. Safe to repeat.

        Each of the models is a replica by its image, or a folder in which a version lies in place. No layout leaves the folder as
        it is. Clients must carry the key; empty is none. Raises FileNotFoundError if a file of a model is gone, BadSetting for a
        key that an engine could read otherwise.
        """

    def start(self, label: str, engine: str, command: Command) -> str:
        """Start the engine, or find the one that runs under this label, and return its handle. It outlives its starter.

        What is left of an earlier engine is ended before. Raises EngineMissing, NoMemoryLimit, ProcessesRemain.
        """

    def look(self) -> Mapping[str, Running | Ended]:
        """Return by label every engine of this library of which something exists, also one whose row is lost."""

    def find(self, label: str) -> str | None:
        """Return the handle of the engine that runs under the label, whoever started it; None if none does."""

    def exit_status(self, label: str) -> str:
        """Return how the label's last engine ended, or "unknown": its starter alone can know it, once. Waits up to a second."""

    def exceeded_memory(self, label: str) -> bool:
        """Return whether the label's last engine was killed because it needed more memory than its limit."""

    def listens(self, label: str, port: int) -> bool:
        """Return whether the label's engine listens at the port, and not another program; True if that cannot be seen."""

    def log(self, label: str, lines: int) -> Iterator[str] | None:
        """Return the last lines of the log, all for 0; None if the engine was never started."""

    def log_of_start(self, label: str) -> str:
        """Return what the engine has written since its start: of a long log the beginning and the end."""

    def logged(self, label: str) -> int:
        """Return how many bytes the log of this start has."""

    def own(self, label: str, below: FilePath) -> OwnFiles:
        """Return the files below a folder of the label's engine; there are none before its first start."""

    def key(self, label: str) -> str:
        """Return the key that the engine was given; empty if it was given none, or if this user may not read it."""

    def stop(self, label: str, seconds: float) -> None:
        """End all of the engine; what does not end within `seconds` is killed. Raises ProcessesRemain."""

    def labels(self) -> Collection[str]:
        """Return the labels of which files are kept: a log, and what the engine wrote."""

    def discard(self, label: str) -> None:
        """End all of the engine, and remove its files. Raises ProcessesRemain."""

    def rename(self, label: str, fresh: str) -> None:
        """Keep the label's files under another one. Whatever runs under the old label does not belong to the new one."""


class Node(Engines, Protocol):
    """One machine: its engines and its replicas. Knows no catalog and no Prefect."""

    @property
    def replicas(self) -> Replicas:
        """The replicas of this machine."""
