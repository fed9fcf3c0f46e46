"""The node beside a directory store: this machine.

replicas/…                           see `replicas`
locks                                ranges of it are the locks by image
instances/<label>/                   an engine's log and private files
instances/<label>/process.json       its first process
instances/<label>/key                the key that its clients must carry, if it asks for one
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath

from modelshelf.digest import Digest
from modelshelf.durable import write_whole
from modelshelf.engines.contract import Command, Layout, Surroundings
from modelshelf.engines.keys import require_usable
from modelshelf.engines.table import engine_called
from modelshelf.limits import DEFAULT
from modelshelf.names import FilePath
from modelshelf.nodes import logs, members, processes, sockets
from modelshelf.nodes.contract import Ended, Running
from modelshelf.nodes.layout import lay_out
from modelshelf.nodes.members import Seen
from modelshelf.nodes.memory import MemoryLimits, Within
from modelshelf.nodes.own_files import LocalFiles
from modelshelf.nodes.processes import Process
from modelshelf.nodes.programs import Programs
from modelshelf.nodes.replicas import LocalReplicas
from modelshelf.store.contract import LocalStore

_FIRST, _LOG, _KEY = "process.json", "engine.log", "key"


class LocalNode:
    """See `contract.Node`; `root` is this node's own folder."""

    def __init__(
        self,
        root: Path,
        store: LocalStore,
        memory: MemoryLimits = MemoryLimits(),  # noqa: B008
        programs: Programs = Programs(),  # noqa: B008
    ) -> None:
        self._memory, self._programs = memory, programs
        self.replicas = LocalReplicas(root, store)
        self._instances = root / "instances"
        self._instances.mkdir(parents=True, exist_ok=True, mode=0o700)

    def require_memory_limit(self) -> None:
        self._memory.require()

    def choose_port(self, bind: str, wanted: int, before: int | None = None) -> int:
        return sockets.choose(bind, wanted, before)

    def require(self, engine: str) -> tuple[str, ...]:
        return self._programs.of(engine_called(engine))

    def prepare(
        self, label: str, models: Sequence[Digest | Path], layout: Layout | None, *, bind: str, port: int, key: str
    ) -> Surroundings:
        own = self._made(label)
        folders = [one if isinstance(one, Path) else self.replicas.files_of(one) for one in models]
        if key:
            write_whole(own / _KEY, f"{require_usable(key)}\n")  # an engine that just starts reads it whole
        if layout is not None:
            lay_out(own, folders, layout)
        seen = tuple(PurePosixPath(folder) for folder in folders)
        return Surroundings(seen, PurePosixPath(own), bind, port, PurePosixPath(own / _KEY) if key else None)

    def start(self, label: str, engine: str, command: Command) -> str:
        first = self._find(label)
        folder = self._made(label)
        if first is None:
            self.stop(label, DEFAULT.engine_stop_seconds)
            (folder / _FIRST).unlink(missing_ok=True)  # until it is written anew, the label finds it
            within = self._memory.within(label, command.memory) if command.memory else Within()
            whole = replace(command, arguments=(*self.require(engine), *command.arguments))
            first = processes.spawn(label, whole, folder / _LOG, prefix=within.prefix, environment=within.environment)
        write_whole(folder / _FIRST, json.dumps({"folder": str(self._folder(label)), **asdict(first)}))
        return _handle(first)

    def look(self) -> dict[str, Running | Ended]:
        """Those of our folders: another library's engines are none of our business."""
        seen = members.look()
        found: dict[str, Running | Ended] = {}
        for label in members.labels(seen, self._instances):
            if ours := self._members(seen, label):
                first = self._find(label, seen)
                found[label] = Running(_handle(first), _words(ours)) if first is not None else Ended(_words(ours))
        return found

    def find(self, label: str) -> str | None:
        first = self._find(label)
        return _handle(first) if first is not None else None

    def exit_status(self, label: str) -> str:
        first = self._first(label)
        return processes.exit_status(first.pid) if first is not None else "unknown"

    def exceeded_memory(self, label: str) -> bool:
        return self._memory.exceeded(label)

    def listens(self, label: str, port: int) -> bool:
        return sockets.listens([one.pid for one in self.members(label)], port)

    def log(self, label: str, lines: int) -> Iterator[str] | None:
        file = self.own_folder(label) / _LOG
        return logs.last(file, lines) if file.exists() else None

    def log_of_start(self, label: str) -> str:
        return logs.this_start(self.own_folder(label) / _LOG)

    def logged(self, label: str) -> int:
        try:
            return (self.own_folder(label) / _LOG).stat().st_size
        except FileNotFoundError:
            return 0

    def own(self, label: str, below: FilePath) -> LocalFiles:
        return LocalFiles(self.own_folder(label) / str(below))

    def own_folder(self, label: str) -> Path:
        """Return the private folder of the label's engine; it is missing before the first start."""
        return self._instances / label

    def key(self, label: str) -> str:
        try:
            return (self.own_folder(label) / _KEY).read_text().strip()
        except OSError:
            return ""

    def stop(self, label: str, seconds: float) -> None:
        members.end(lambda: self.members(label), seconds, label)
        self._memory.forget(label)

    def labels(self) -> set[str]:
        return {folder.name for folder in self._instances.iterdir()}

    def discard(self, label: str) -> None:
        self.stop(label, DEFAULT.engine_stop_seconds)
        shutil.rmtree(self._instances / label, ignore_errors=True)

    def rename(self, label: str, fresh: str) -> None:
        if (self._instances / label).exists():
            (self._instances / label).rename(self._instances / fresh)

    def members(self, label: str) -> list[Process]:
        """Return every process of the engine, also those that outlived its first."""
        return self._members(members.look(), label)

    def _made(self, label: str) -> Path:
        folder = self.own_folder(label)
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def _find(self, label: str, seen: Sequence[Seen] | None = None) -> Process | None:
        """Return the first process if it runs. All processes are looked at only if none is recorded."""
        if (first := self._first(label)) is not None:
            return first if processes.alive(first) else None
        return members.leader(seen if seen is not None else members.look(), label, self._folder(label))

    def _members(self, seen: Sequence[Seen], label: str) -> list[Process]:
        inside = self._memory.pids(label)
        return members.members(seen, label, self._folder(label), self._first(label), inside)

    def _first(self, label: str) -> Process | None:
        """The process that this node started last for the label; None also in a folder that was copied or renamed."""
        try:
            recorded = json.loads((self.own_folder(label) / _FIRST).read_bytes())
            if recorded["folder"] != str(self._folder(label)):
                return None
            return Process(int(recorded["pid"]), int(recorded["started"]), str(recorded["boot"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # never started, or not written by us
            return None

    def _folder(self, label: str) -> Path:
        return (self._instances / label).resolve()


def _handle(first: Process) -> str:
    return json.dumps(asdict(first), sort_keys=True)


def _words(ours: Sequence[Process]) -> str:
    return f"process{'es' if len(ours) > 1 else ''} {', '.join(str(one.pid) for one in ours)}"
