"""A folder, or one file, on this machine: copied in and hashed on the way, or registered where it lies."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from modelshelf.errors import LimitExceeded, SourceUnreadable
from modelshelf.formats.allowed import POINTER_BYTES, refuse_pointer
from modelshelf.formats.weights import shard_of, unsharded, without_suffix
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import ModelName, Tag, pattern_of, tag_for
from modelshelf.sources.asking import Asked
from modelshelf.sources.choosing import choose
from modelshelf.sources.contract import Listing, Pin, SourceFile
from modelshelf.sources.fetch import Wanted
from modelshelf.sources.uri import FilesystemUri, FolderUri
from modelshelf.stop import StopToken
from modelshelf.transfer.local import LocalFile
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
        allow_code: bool = False,
        limits: Limits = DEFAULT,
    ) -> None:
        self.model: ModelName = uri.model
        self.uri = str(uri)
        self.wire = Wire(limits=limits)
        self.login: Login | None = None
        self._mount = mount
        if isinstance(uri, FolderUri) and uri.quantization and (whole := Path(f"{uri.path}:{uri.quantization}")).exists():
            uri = FolderUri(whole)
        self._path = uri.path if isinstance(uri, FolderUri) else _below(mount or Path("/"), uri)
        self._folder = self._path if self._path.is_dir() else self._path.parent
        self._asked, self._limits = Asked(uri, tuple(include), tuple(exclude), allow_code), limits

    def pin(self, stop: StopToken) -> Pin:
        """The pin of a folder is what can be seen without reading it: paths, sizes and times of change."""
        resolved = _resolved(self._found(stop))
        if self._asked.wanted is not None:
            return Pin(tag_for(without_suffix(unsharded(self._asked.wanted))), resolved)
        return Pin(Tag("folder" if self._path.is_dir() else "file"), resolved)

    def list_files(self, pin: Pin, stop: StopToken) -> Listing:
        """The files of the pin. Raises SourceUnreadable if they changed since, LargeFilePointer if one is not there yet."""
        found = self._found(stop)
        if _resolved(found) != pin.resolved:
            reason = "its files changed after this began; try again when nothing writes to them"
            raise SourceUnreadable(path=self._path, reason=reason)
        sizes = {name: size for name, (size, _) in found.items()}
        chosen = choose(sizes, self._asked, self._read, self._limits)
        files = tuple(SourceFile(path, role, Wanted(path, self._local(path.text))) for path, role in chosen.roles.items())
        for file in files:
            if file.size < POINTER_BYTES:
                refuse_pointer(self._read(file.path.text), file.path.text)
        return Listing(chosen.format, files, left_out=chosen.left_out)

    def _found(self, stop: StopToken) -> dict[str, tuple[int, int]]:
        """Size in bytes and time of change of every file that the patterns let pass, a link's as of what it points to."""
        if not self._path.exists():
            raise SourceUnreadable(path=self._path, reason="there is no such file or folder on this machine")
        found: dict[str, tuple[int, int]] = {}
        for name in self._walk(stop) if self._path.is_dir() else self._siblings():
            if len(found) >= self._limits.files:
                raise LimitExceeded(what=self._path, found=f"more than {len(found)} files", limit=f"{self._limits.files} files")
            if self._asked.takes(name):
                found[name] = _seen(self._folder / name)
        return found

    def _siblings(self) -> list[str]:
        """Return the named file; of a file that is one of a set, the whole set and its index."""
        named = self._path.name
        shard = shard_of(named)
        if shard is None:
            return [named]
        whole = unsharded(named)

        def belongs(name: str) -> bool:
            other = shard_of(name)
            return name.startswith(f"{whole}.index.") or (
                unsharded(name) == whole and other is not None and other.count == shard.count
            )

        return sorted(path.name for path in self._folder.iterdir() if belongs(path.name))

    def _walk(self, stop: StopToken) -> Iterator[str]:
        """The names of every file below, a repository's own folders left out; a folder that is a link is not entered."""
        for folder, names, files in os.walk(self._path, onerror=_unreadable):
            stop.check()
            inside = os.path.relpath(folder, self._path)
            prefix = "" if inside == "." else f"{inside}/"
            names[:] = sorted(name for name in names if name not in (".git", ".cache"))
            for name in names:
                path = f"{prefix}{name}"
                if (Path(folder) / name).is_symlink() and self._asked.takes(path) and self._asked.takes(f"{path}/x"):
                    reason = f"it is a link to a folder; `--exclude {pattern_of(path)}` omits it"
                    raise SourceUnreadable(path=Path(folder) / name, reason=reason)
            yield from (f"{prefix}{name}" for name in sorted(files))

    def _read(self, name: str) -> bytes:
        local, limit = self._local(name), self._limits.api_body_bytes
        if local.size > limit:
            raise LimitExceeded(what=name, found=f"{local.size:,} bytes", limit=f"{limit:,} bytes")
        return local.start(limit)

    def _local(self, name: str) -> LocalFile:
        file = self._folder / name
        try:
            real = file.resolve(strict=True)
            told = real.stat()
        except OSError as error:
            raise SourceUnreadable(path=file, reason=error.strerror or error) from error
        if file.is_symlink() and file != self._path and not real.is_relative_to(self._root()):
            raise SourceUnreadable(path=file, reason=f"it is a link that leaves {self._root()}")
        if not stat.S_ISREG(told.st_mode):
            raise SourceUnreadable(path=file, reason="it is not a regular file")
        return LocalFile(name, "the folder", real, told.st_size, told.st_mtime_ns)

    def _root(self) -> Path:
        """Links may stay in the folder; a snapshot of the Hub's cache is made of links into its sibling `blobs`."""
        real = self._folder.resolve()
        repository = real.parent.parent
        if self._mount is not None and not repository.is_relative_to(self._mount.resolve()):
            return real
        return repository if real.parent.name == "snapshots" and (repository / "blobs").is_dir() else real


def _resolved(found: dict[str, tuple[int, int]]) -> str:
    """The pin of files that were seen so: their names, sizes and times of change."""
    seen = hashlib.sha256()
    for name, (size, changed) in sorted(found.items()):
        seen.update(f"{name}\n{size}\n{changed}\n".encode("utf-8", "surrogateescape"))
    return seen.hexdigest()


def _seen(file: Path) -> tuple[int, int]:
    """Return size and time of change; zeros for a link that leads nowhere, which is refused only if it is taken."""
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _below(mount: Path, uri: FilesystemUri) -> Path:
    """The folder below the mount point. Raises SourceUnreadable if a link on the way leaves it."""
    folder = mount / str(uri.folder)
    if not folder.resolve().is_relative_to(mount.resolve()):
        raise SourceUnreadable(path=folder, reason=f"a link on the way leaves the filesystem at {mount}")
    return folder


def _unreadable(error: OSError) -> None:
    raise SourceUnreadable(path=error.filename, reason=error.strerror)
