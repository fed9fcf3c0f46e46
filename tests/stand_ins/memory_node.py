"""A node of plain dicts: the contract and nothing else. What the library needs beyond it would fail here."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from modelshelf.digest import Digest
from modelshelf.engines.contract import Command, Layout, Surroundings
from modelshelf.engines.keys import require_usable
from modelshelf.engines.table import ENGINES, engine_called
from modelshelf.errors import EngineMissing, PortTaken
from modelshelf.formats.image import PackedFile
from modelshelf.limits import DEFAULT
from modelshelf.names import FilePath
from modelshelf.nodes.contract import Ended, Running
from modelshelf.stop import StopToken
from modelshelf.store.contract import Store
from tests.stand_ins.memory_source import MemoryBody, MemoryPublisher
from tests.stand_ins.memory_store import MemoryLocks

_FREE = 49152
"""The first dynamic port (RFC 6335)."""


@dataclass
class MemoryEngine:
    """What runs, or ran last, under a label."""

    number: int
    engine: str
    command: Command
    alive: bool = True
    left: str = ""
    status: str = "unknown"
    exceeded_memory: bool = False

    @property
    def handle(self) -> str:
        return json.dumps({"engine": self.number})


@dataclass
class Kept:
    """The files of a label: those that were laid out, the engine's own, its logs and its key."""

    files: dict[str, bytes] = field(default_factory=dict)
    laid: set[str] = field(default_factory=set)
    log: list[str] | None = None
    key: str = ""


class MemoryNode:
    """See `modelshelf.nodes.contract.Node`. `write`, `end` and the dicts are for tests."""

    def __init__(self, store: Store, programs: Collection[str] = ENGINES) -> None:
        self.replicas = MemoryReplicas(store)
        self.programs = programs
        self.engines: dict[str, MemoryEngine] = {}
        self.kept: dict[str, Kept] = {}
        self.taken: set[int] = set()
        self._started = 0

    def write(self, label: str, line: str) -> None:
        """Write a line to the log, as the engine does."""
        log = self.kept[label].log
        assert log is not None
        log.append(line)

    def end(self, label: str, *, status: str = "unknown", left: str = "", exceeded_memory: bool = False) -> None:
        """Let the engine end by itself; `left` is what is left of it."""
        engine = self.engines[label]
        engine.alive, engine.status, engine.left, engine.exceeded_memory = False, status, left, exceeded_memory

    def require_memory_limit(self) -> None:
        """Any limit can be kept."""

    def choose_port(self, bind: str, wanted: int, before: int | None = None) -> int:
        if wanted:
            if wanted in self.taken:
                raise PortTaken(port=wanted, bind=bind, by="")
            return wanted
        if before is not None and before not in self.taken:
            return before
        return next(port for port in range(_FREE, 65536) if port not in self.taken)

    def require(self, engine: str) -> tuple[str, ...]:
        if engine_called(engine).name not in self.programs:
            raise EngineMissing(engine=engine, reason="it is not on this node", advice=engine_called(engine).program.advice)
        return (f"/programs/{engine}",)

    def prepare(
        self, label: str, models: Sequence[Digest | Path], layout: Layout | None, *, bind: str, port: int, key: str
    ) -> Surroundings:
        kept = self.kept.setdefault(label, Kept())
        if key:
            kept.key = require_usable(key)
        if layout is not None:
            self._lay_out(kept, models, layout)
        folders = tuple(PurePosixPath(one) if isinstance(one, Path) else _folder_of(one) for one in models)
        own = PurePosixPath("/own") / label
        return Surroundings(folders, own, bind, port, own / "key" if key else None)

    def start(self, label: str, engine: str, command: Command) -> str:
        self.require(engine)
        there = self.engines.get(label)
        if there is None or not there.alive:
            self._started += 1
            there = self.engines[label] = MemoryEngine(self._started, engine, command)
            self.kept.setdefault(label, Kept()).log = []
        return there.handle

    def look(self) -> dict[str, Running | Ended]:
        running = {label: Running(one.handle, f"engine {one.number}") for label, one in self.engines.items() if one.alive}
        return {**{label: Ended(one.left) for label, one in self.engines.items() if not one.alive and one.left}, **running}

    def find(self, label: str) -> str | None:
        engine = self.engines.get(label)
        return engine.handle if engine is not None and engine.alive else None

    def exit_status(self, label: str) -> str:
        return self.engines[label].status if label in self.engines else "unknown"

    def exceeded_memory(self, label: str) -> bool:
        return label in self.engines and self.engines[label].exceeded_memory

    def listens(self, label: str, port: int) -> bool:
        """Nothing can be seen of it."""
        return True

    def log(self, label: str, lines: int) -> Iterator[str] | None:
        log = self._log(label)
        return iter(log[-lines:] if lines else log) if log is not None else None

    def log_of_start(self, label: str) -> str:
        return "".join(f"{line}\n" for line in self._log(label) or [])

    def logged(self, label: str) -> int:
        return len(self.log_of_start(label).encode())

    def own(self, label: str, below: FilePath) -> MemoryFiles:
        kept = self.kept[label].files if label in self.kept else {}
        return MemoryFiles({path.removeprefix(f"{below}/"): one for path, one in kept.items() if path.startswith(f"{below}/")})

    def key(self, label: str) -> str:
        return self.kept[label].key if label in self.kept else ""

    def stop(self, label: str, seconds: float) -> None:
        if (engine := self.engines.get(label)) is not None:
            engine.alive, engine.left = False, ""

    def labels(self) -> set[str]:
        return set(self.kept)

    def discard(self, label: str) -> None:
        self.stop(label, 0)
        self.kept.pop(label, None)
        self.engines.pop(label, None)

    def rename(self, label: str, fresh: str) -> None:
        if label in self.kept:
            self.kept[fresh] = self.kept.pop(label)

    def _log(self, label: str) -> list[str] | None:
        return self.kept[label].log if label in self.kept else None

    def _lay_out(self, kept: Kept, models: Sequence[Digest | Path], layout: Layout) -> None:
        now = {
            **{str(path): self.replicas.read(models[number], str(file)) for path, (number, file) in layout.links.items()},
            **{str(path): content for path, content in layout.copies.items()},
        }
        stale, kept.laid = kept.laid - now.keys(), set(now)
        kept.files |= now
        for path in sorted(stale, key=lambda path: "sha256-" in path):
            named = [content for other, content in kept.files.items() if other.startswith(f"{layout.referrers}/")]
            digest = path.rpartition("sha256-")[2].encode()
            if "sha256-" not in path or not any(digest in content for content in named):
                del kept.files[path]


@dataclass(frozen=True)
class MemoryFiles:
    """See `modelshelf.nodes.contract.OwnFiles`."""

    files: dict[str, bytes]

    def list(self, below: FilePath) -> Iterator[tuple[FilePath, int]]:
        for path, content in sorted(self.files.items()):
            if path.startswith(f"{below}/"):
                yield FilePath(path.removeprefix(f"{below}/")), len(content)

    def open(self, path: FilePath) -> BinaryIO:
        if str(path) not in self.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return io.BytesIO(self.files[str(path)])

    def body(self, path: FilePath, *, what: str, whose: str) -> MemoryBody | None:
        content = self.files.get(str(path))
        publisher = MemoryPublisher({what: content or b""})
        return MemoryBody(what, whose, len(content), f"memory {path}", publisher) if content is not None else None


class MemoryReplicas:
    """See `modelshelf.nodes.contract.Replicas`. `held` is for tests: the files of each replica, by their paths."""

    def __init__(self, store: Store, free: int = 1 << 40) -> None:
        self.held: dict[Digest, dict[str, bytes]] = {}
        self.free = free
        self._store, self._locks = store, MemoryLocks(DEFAULT)

    @contextmanager
    def alone_at(self, image: Digest, stop: StopToken | None = None) -> Iterator[None]:
        with self._locks.removing(image, stop):
            yield

    def holds(self, image: Digest, files: Sequence[PackedFile]) -> bool:
        there = self.held.get(image)
        return there is not None and all(Digest.of(there.get(str(file.path), b"")) == file.digest for file in files)

    def bytes_to_copy(self, files: Sequence[PackedFile]) -> int:
        return sum(file.size for file in files)

    def fill(self, image: Digest, files: Sequence[PackedFile], stop: StopToken) -> Path:
        filled = {}
        for file in files:
            stop.check()
            with self._store.open(file.digest) as blob:
                filled[str(file.path)] = blob.read()
        self.held[image] = filled
        return self.files_of(image)

    def files_of(self, image: Digest) -> Path:
        return Path(_folder_of(image))

    def free_bytes(self) -> int:
        return self.free

    def evict(self, image: Digest) -> None:
        self.held.pop(image, None)

    def list(self) -> Collection[Digest]:
        return set(self.held)

    def read(self, model: Digest | Path, file: str) -> bytes:
        """Return a file of a model. Raises FileNotFoundError."""
        if isinstance(model, Path):
            return (model / file).read_bytes()
        try:
            return self.held[model][file]
        except KeyError:
            raise FileNotFoundError(file) from None


def _folder_of(image: Digest) -> PurePosixPath:
    return PurePosixPath("/replicas") / image.hex
