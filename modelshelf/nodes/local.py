"""The node beside a directory store: this machine.

replicas/<image hex>/files/…         hard links to the store's blobs: no second copy of a byte
replicas/<image hex>/complete.json   written last
replicas/.<uuid>/…                   being laid out: renamed as a whole when it is complete
instances/<label>/                   an instance's log and private files
instances/<label>/process.json       the first process of its engine
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from modelshelf.crash_points import reach
from modelshelf.digest import Digest
from modelshelf.durable import sync_folder, write_whole
from modelshelf.engines.contract import Command
from modelshelf.errors import BlobMissing, NodeFull, WriteFailed
from modelshelf.formats.image import PackedFile
from modelshelf.limits import DEFAULT
from modelshelf.nodes import members, processes
from modelshelf.nodes.contract import Process
from modelshelf.nodes.members import Seen
from modelshelf.nodes.memory import MemoryLimits, Within
from modelshelf.stop import StopToken
from modelshelf.store.contract import LocalStore

_FIRST = "process.json"


class LocalNode:
    """See `contract.Node`; `root` is this node's own folder."""

    def __init__(self, root: Path, store: LocalStore, memory: MemoryLimits = MemoryLimits()) -> None:  # noqa: B008
        self._memory = memory
        self._replicas = root / "replicas"
        self._instances = root / "instances"
        self._store = store
        for folder in (self._replicas, self._instances):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def holds(self, image: Digest, files: Sequence[PackedFile]) -> bool:
        replica = self._replicas / image.hex
        if not (replica / "complete.json").exists():
            return False
        return all(self._is_laid_out(replica / "files" / str(file.path), file) for file in files)

    def fill(self, image: Digest, files: Sequence[PackedFile], stop: StopToken) -> Path:
        replica = self._replicas / image.hex
        if self.holds(image, files):
            return replica / "files"
        for left in self._replicas.glob(f".{image.hex}.*"):  # by a run that was killed: the caller is alone at this image
            shutil.rmtree(left, ignore_errors=True)
        building = self._replicas / f".{image.hex}.{uuid.uuid4().hex}"
        try:
            (building / "files").mkdir(parents=True)
            reach("replica.begun")
            for file in files:
                stop.check()
                self._lay_out(building / "files" / str(file.path), file)
                reach("replica.linked")
            marker = {"image": str(image), "files": len(files), "bytes": sum(file.size for file in files)}
            write_whole(building / "complete.json", json.dumps(marker), mode=0o644)
            reach("replica.marked")
            sync_folder(building)
            shutil.rmtree(replica, ignore_errors=True)  # what is there is not complete, or was altered
            building.rename(replica)
            reach("replica.renamed")
            sync_folder(self._replicas)
        except OSError as error:
            raise self._explained(error, image, files) from error
        finally:
            shutil.rmtree(building, ignore_errors=True)
        return replica / "files"

    def files_of(self, image: Digest) -> Path:
        return self._replicas / image.hex / "files"

    def evict(self, image: Digest) -> None:
        replica = self._replicas / image.hex
        if replica.exists():
            replica.rename(self._replicas / f".{image.hex}.{uuid.uuid4().hex}")
        for leaving in self._replicas.glob(f".{image.hex}.*"):
            shutil.rmtree(leaving, ignore_errors=True)

    def replicas(self) -> list[Digest]:
        return [Digest(replica.name) for replica in self._replicas.iterdir() if (replica / "complete.json").exists()]

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

    def find(self, label: str) -> Process | None:
        if (first := self._first(label)) is not None:
            return first if processes.alive(first) else None
        return members.leader(members.look(), label, self._folder(label))

    def members(self, label: str) -> list[Process]:
        return self._members(members.look(), label)

    def alive(self, process: Process) -> bool:
        return processes.alive(process)

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

    def _lay_out(self, target: Path, file: PackedFile) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        blob = self._store.path_of(file.digest)
        try:
            os.link(blob, target, follow_symlinks=False)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
            shutil.copyfile(blob, target, follow_symlinks=False)
            target.chmod(0o444)
            with target.open("rb") as copy:
                os.fsync(copy.fileno())

    def _is_laid_out(self, target: Path, file: PackedFile) -> bool:
        try:
            found = target.lstat()
            blob = self._store.path_of(file.digest).lstat()
        except (FileNotFoundError, BlobMissing):  # without the store's own there is nothing to compare it with
            return False
        linked = (found.st_dev, found.st_ino) == (blob.st_dev, blob.st_ino)
        return linked or (found.st_dev != blob.st_dev and found.st_size == file.size)

    def _explained(self, error: OSError, image: Digest, files: Sequence[PackedFile]) -> Exception:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            disk = os.statvfs(self._replicas)
            needed = f"{sum(file.size for file in files):,} bytes"
            return NodeFull(node="the local node", what=image, free=f"{disk.f_bavail * disk.f_frsize:,} bytes", needed=needed)
        return WriteFailed(what=f"the replica of {image}", path=self._replicas, reason=error.strerror or error)
