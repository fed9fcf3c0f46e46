"""The node beside a directory store: this machine.

replicas/…                           see `replicas`
locks                                ranges of it are the locks by image
instances/<label>/                   an instance's log and private files
instances/<label>/process.json       the first process of its engine
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from modelshelf.durable import write_whole
from modelshelf.engines.contract import Command
from modelshelf.limits import DEFAULT
from modelshelf.nodes import members, processes, sockets
from modelshelf.nodes.contract import Process
from modelshelf.nodes.members import Seen
from modelshelf.nodes.memory import MemoryLimits, Within
from modelshelf.nodes.replicas import LocalReplicas
from modelshelf.store.contract import LocalStore

_FIRST = "process.json"


class LocalNode:
    """See `contract.Node`; `root` is this node's own folder."""

    def __init__(self, root: Path, store: LocalStore, memory: MemoryLimits = MemoryLimits()) -> None:  # noqa: B008
        self._memory = memory
        self.replicas = LocalReplicas(root, store)
        self._instances = root / "instances"
        self._instances.mkdir(parents=True, exist_ok=True, mode=0o700)

    def running(self) -> dict[str, list[Process]]:
        """Those of our folders: another library's engines are none of our business."""
        seen = members.look()
        found = {label: self._members(seen, label) for label in members.labels(seen, self._instances)}
        return {label: ours for label, ours in found.items() if ours}

    def instance_labels(self) -> set[str]:
        return {folder.name for folder in self._instances.iterdir()}

    def instance_folder(self, label: str) -> Path:
        folder = self._instances / label
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def rename_instance(self, label: str, fresh: str) -> None:
        if (self._instances / label).exists():
            (self._instances / label).rename(self._instances / fresh)

    def discard_instance(self, label: str) -> None:
        """Remove the instance's folder. Its processes are ended first. Raises ProcessesRemain."""
        self.stop(label, DEFAULT.engine_stop_seconds)
        shutil.rmtree(self._instances / label, ignore_errors=True)

    def start(self, label: str, command: Command, log: Path) -> Process:
        first = self.find(label)
        if first is None:
            self.stop(label, DEFAULT.engine_stop_seconds)
            (self._instances / label / _FIRST).unlink(missing_ok=True)  # until it is written anew, the label finds it
            within = self._memory.within(label, command.memory) if command.memory else Within()
            first = processes.spawn(label, command, log, prefix=within.prefix, environment=within.environment)
        write_whole(self.instance_folder(label) / _FIRST, json.dumps({"folder": str(self._folder(label)), **asdict(first)}))
        return first

    def require_memory_limit(self) -> None:
        self._memory.require()

    def exceeded_memory(self, label: str) -> bool:
        return self._memory.exceeded(label)

    def find(self, label: str) -> Process | None:
        if (first := self._first(label)) is not None:
            return first if processes.alive(first) else None
        return members.leader(members.look(), label, self._folder(label))

    def members(self, label: str) -> list[Process]:
        return self._members(members.look(), label)

    def alive(self, process: Process) -> bool:
        return processes.alive(process)

    def listens(self, label: str, port: int) -> bool:
        return sockets.listens([one.pid for one in self.members(label)], port)

    def stop(self, label: str, seconds: float) -> None:
        members.end(lambda: self.members(label), seconds, label)
        self._memory.forget(label)

    def _members(self, seen: Sequence[Seen], label: str) -> list[Process]:
        inside = self._memory.pids(label)
        return members.members(seen, label, self._folder(label), self._first(label), inside)

    def _first(self, label: str) -> Process | None:
        """The process that this node started last for the instance; None also in a folder that was copied or renamed."""
        try:
            recorded = json.loads((self._instances / label / _FIRST).read_bytes())
            if recorded["folder"] != str(self._folder(label)):
                return None
            return Process(int(recorded["pid"]), int(recorded["started"]), str(recorded["boot"]))
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # never started, or not written by us
            return None

    def _folder(self, label: str) -> Path:
        return (self._instances / label).resolve()
