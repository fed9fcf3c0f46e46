"""What an engine wrote into its own folder, where that is a folder of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modelshelf.errors import HostileFileName
from modelshelf.names import FilePath
from modelshelf.transfer.local import LocalFile


@dataclass(frozen=True, slots=True)
class LocalFiles:
    """See `contract.OwnFiles`; the files below `root`."""

    root: Path

    def list(self, below: FilePath) -> Iterator[tuple[FilePath, int]]:
        folder = self.root / str(below)
        for path in sorted(folder.rglob("*")):
            with suppress(HostileFileName, FileNotFoundError):  # not ours to name; gone meanwhile
                if path.is_file() and not path.is_symlink():
                    yield FilePath(str(path.relative_to(folder))), path.stat().st_size

    def open(self, path: FilePath) -> BinaryIO:
        return (self.root / str(path)).open("rb")

    def body(self, path: FilePath, *, what: str, whose: str) -> LocalFile | None:
        file = self.root / str(path)
        if not file.is_file():
            return None
        found = file.stat()
        return LocalFile(what, whose, file, found.st_size, found.st_mtime_ns)
