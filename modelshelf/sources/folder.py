"""A folder, or one file, on this machine: copied in and hashed on the way, or registered where it lies."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelshelf.errors import LimitExceeded, SourceUnreadable
from modelshelf.formats.allowed import role_of
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath, ModelName, Tag, refuse_colliding
from modelshelf.sources.choosing import choose
from modelshelf.sources.contract import Listing, Pin, SourceFile
from modelshelf.sources.fetch import Wanted
from modelshelf.sources.uri import FilesystemUri, FolderUri
from modelshelf.stop import StopToken
from modelshelf.transfer import LocalFile
from modelshelf.wire import Login, Wire


class FolderSource:
    """What lies under a path now. Links are followed within it, and within the Hub's cache that it is part of.

    A folder of a shared filesystem is given by its `mount`, which nothing may leave.
    """

    def __init__(
        self,
        uri: FolderUri | FilesystemUri,
        *,
        mount: Path | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        limits: Limits = DEFAULT,
    ) -> None:
        self.model: ModelName = uri.model
        self.uri = str(uri)
        self.wire = Wire(limits=limits)
        self.login: Login | None = None
        self._mount = mount
        self._path = uri.path if isinstance(uri, FolderUri) else _below(mount or Path("/"), uri)
        self._include, self._exclude, self._limits = tuple(include), tuple(exclude), limits

    def pin(self, stop: StopToken) -> Pin:
        """The pin of a folder is what can be seen without reading it: paths, sizes and times of change."""
        seen = hashlib.sha256()
        for path, local in sorted(self._found(stop).items()):
            seen.update(f"{path}\n{local.size}\n{local.changed}\n".encode())
        return Pin(Tag("folder" if self._path.is_dir() else "file"), seen.hexdigest())

    def list_files(self, pin: Pin, stop: StopToken) -> Listing:
        found = self._found(stop)
        refuse_colliding(found)
        sizes = {path: local.size for path, local in found.items()}
        chosen = choose(sizes, self._include, self._exclude, None, what=self._path, example=self.uri)
        files = tuple(SourceFile(path, role_of(path), Wanted(path, found[path])) for path in chosen.paths)
        return Listing(chosen.format, files, left_out=chosen.left_out)

    def _found(self, stop: StopToken) -> dict[FilePath, LocalFile]:
        if self._path.is_file():
            return {FilePath(self._path.name): self._local(self._path, self._path.name)}
        if not self._path.is_dir():
            raise SourceUnreadable(path=self._path, reason="there is no such file or folder on this machine")
        found: dict[FilePath, LocalFile] = {}
        for file in self._walk(stop):
            if len(found) >= self._limits.files:
                raise LimitExceeded(what=self._path, found=f"more than {len(found)} files", limit=f"{self._limits.files} files")
            name = str(file.relative_to(self._path))
            found[FilePath(name)] = self._local(file, name)
        return found

    def _walk(self, stop: StopToken) -> Iterator[Path]:
        """Every file below, a repository's own folders left out; a folder that is a link is not entered."""
        for folder, names, files in os.walk(self._path, onerror=_unreadable):
            stop.check()
            names[:] = sorted(name for name in names if name not in (".git", ".cache"))
            for name in names:
                if (Path(folder) / name).is_symlink():
                    raise SourceUnreadable(path=Path(folder) / name, reason="it is a link to a folder")
            yield from (Path(folder) / name for name in sorted(files))

    def _local(self, file: Path, name: str) -> LocalFile:
        try:
            real = file.resolve(strict=True)
            told = real.stat()
        except OSError as error:
            raise SourceUnreadable(path=file, reason=error.strerror or error) from error
        if file.is_symlink() and not real.is_relative_to(self._root()):
            raise SourceUnreadable(path=file, reason=f"it is a link that leaves {self._root()}")
        if not stat.S_ISREG(told.st_mode):
            raise SourceUnreadable(path=file, reason="it is no regular file")
        return LocalFile(name, "the folder", real, told.st_size, told.st_mtime_ns)

    def _root(self) -> Path:
        """Links may stay in the folder; a snapshot of the Hub's cache is made of links into its sibling `blobs`."""
        real = self._path.resolve()
        repository = real.parent.parent
        if self._mount is not None and not repository.is_relative_to(self._mount.resolve()):
            return real
        return repository if real.parent.name == "snapshots" and (repository / "blobs").is_dir() else real


def _below(mount: Path, uri: FilesystemUri) -> Path:
    """The folder below the mount point. Raises SourceUnreadable if a link on the way leaves it."""
    folder = mount / str(uri.folder)
    if not folder.resolve().is_relative_to(mount.resolve()):
        raise SourceUnreadable(path=folder, reason=f"a link on the way leaves the filesystem at {mount}")
    return folder


def _unreadable(error: OSError) -> None:
    raise SourceUnreadable(path=error.filename, reason=error.strerror)
