"""Registering a folder of a shared filesystem where it lies: nothing is copied, its region is the filesystem's.

What makes sure of it later is what can be seen without reading: each file's path, size and time of change. Digests are
taken on request, and an audit that re-hashes compares them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from modelshelf.catalog import places, versions
from modelshelf.catalog.leases import Lease
from modelshelf.catalog.places import Place
from modelshelf.catalog.versions import Version
from modelshelf.errors import NoSuchFilesystem, OtherRegion, PlaceChanged, SourceUnreadable
from modelshelf.formats.allowed import inspect_file
from modelshelf.formats.describing import describe, known
from modelshelf.formats.image import PlacedFile
from modelshelf.formats.kinds import Header
from modelshelf.formats.licenses import TEXT_BYTES, is_license_file
from modelshelf.formats.named_code import may_name_code, refuse_named_code
from modelshelf.library import categories, licensing
from modelshelf.library.opening import Library
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath, FilesystemName, ModelName, ModelRef, ProjectName
from modelshelf.settings import Filesystem
from modelshelf.sources.contract import Listing, Pin, SourceFile
from modelshelf.sources.folder import FolderSource
from modelshelf.sources.uri import FilesystemUri
from modelshelf.states import VersionState
from modelshelf.stop import StopToken
from modelshelf.transfer.local import LocalFile


@dataclass(frozen=True, slots=True)
class RegisterPlan:
    """What a registration lists; sizes in bytes. Nothing is copied."""

    ref: ModelRef
    source: str
    region: str
    format: str
    files: tuple[tuple[str, int], ...]
    left_out: tuple[str, ...]
    total: int
    to_hash: int
    ready: bool
    """It was registered already, with the same files: nothing is to be done."""


def source_of(
    library: Library, uri: FilesystemUri, include: Sequence[str] = (), exclude: Sequence[str] = (), *, allow_code: bool = False,
    limits: Limits = DEFAULT,
) -> FolderSource:  # fmt: skip
    """The folder on the mounted filesystem. Raises NoSuchFilesystem, SourceUnreadable if it is not there or leaves."""
    mount = _filesystem(library, uri.filesystem).path
    return FolderSource(uri, mount=mount, include=include, exclude=exclude, allow_code=allow_code, limits=limits)


def plan_dry(
    library: Library, asking: ProjectName, name: ModelName, uri: FilesystemUri, pin: Pin, listing: Listing, *, category: str,
    hash: bool,
) -> RegisterPlan:  # fmt: skip
    """What a registration would list; nothing is changed."""
    with library.catalog.trying() as connection:
        target = categories.reserve(connection, asking, name, pin, source=str(uri), category=category, who="")
    return plan(library, target, uri, listing, hash=hash)


def plan(library: Library, target: Version, uri: FilesystemUri, listing: Listing, *, hash: bool) -> RegisterPlan:
    ready = target.state == VersionState.READY
    return RegisterPlan(
        ref=target.ref,
        source=str(uri),
        region=_filesystem(library, uri.filesystem).region,
        format=str(listing.format),
        files=tuple((str(file.path), file.size) for file in listing.files),
        left_out=listing.left_out,
        total=listing.size,
        to_hash=listing.size if hash and not ready else 0,
        ready=ready,
    )


def register(
    library: Library, asking: ProjectName, target: Version, uri: FilesystemUri, listing: Listing, pin: Pin, *, lease: Lease,
    stop: StopToken, who: str, hash: bool, allow_code: bool, category: str = "",
    on_bytes: Callable[[int], None] = lambda _count: None,
) -> Version:  # fmt: skip
    """The version is ready, its files where they were; headers were read, and with `hash` every byte."""
    with library.catalog.writing() as connection:
        versions.set_state(connection, target.id, VersionState.IMPORTING)
    license = _license(listing)
    licensing.require_allowed(library, license, target.ref, known=False)

    def look(file: SourceFile) -> tuple[PlacedFile, Header | None]:
        return _examine(file, stop, on_bytes, hash=hash, allow_code=allow_code)

    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="register") as pool:
        seen = list(pool.map(look, sorted(listing.files, key=lambda file: -file.size)))
    files = tuple(sorted(file for file, _ in seen))
    at = Place(uri.filesystem, _filesystem(library, uri.filesystem).region, _folder_of(library, uri), files)
    headers = {file.path: header for file, header in seen if header is not None}
    described = describe(listing.format, headers, {}, what=target.ref, command=f"modelshelf register {uri}")
    local = {file.path: _local(file) for file in listing.files}
    facts = known(described, listing.format, local.keys(), lambda path: local[path].start(DEFAULT.api_body_bytes))
    license = license or described.license
    licensing.require_allowed(library, license, target.ref)
    with library.catalog.writing() as connection:
        published = places.publish(
            connection, asking, target, at, format=listing.format, facts=facts, parts=described.parts, license=license,
            lease=lease,
            tag=pin.requested, who=who,
        )  # fmt: skip
        return categories.settle(connection, asking, published, named=category, who=who)


def require_here(library: Library, target: Version, at: Place) -> Path:
    """The folder that an engine reads. Raises OtherRegion, NoSuchFilesystem, or PlaceChanged if a file is not as registered."""
    if at.region != library.node_at.region:
        raise OtherRegion(what=target.ref, filesystem=at.filesystem, region=at.region, found=library.node_at.region)
    mount = _filesystem(library, at.filesystem).path
    root, folder = mount.resolve(), mount / str(at.folder)
    for file in at.files:
        path = folder / str(file.path)
        try:
            real = path.resolve(strict=True)
            found = real.stat()
        except OSError as error:
            raise PlaceChanged(what=target.ref, reason=f"{path}: {error.strerror}") from error
        if not real.is_relative_to(root):
            raise PlaceChanged(what=target.ref, reason=f"{path} is a link that leaves {mount}")
        if (found.st_size, found.st_mtime_ns) != (file.size, file.changed):
            said = f"{found.st_size:,} bytes instead of {file.size:,}" if found.st_size != file.size else "its time of change"
            raise PlaceChanged(what=target.ref, reason=f"{path} was changed ({said})")
    return folder


def require_same_bytes(library: Library, target: Version, at: Place, stop: StopToken) -> None:
    """Raise PlaceChanged unless each file whose digest is known still has it. Every byte of these is read."""
    folder = require_here(library, target, at)
    for file in at.files:
        if file.digest is None:
            continue
        path = folder / str(file.path)
        found = LocalFile(str(file.path), "the filesystem", path.resolve(), file.size, file.changed).digest(stop)
        if found != file.digest:
            raise PlaceChanged(what=target.ref, reason=f"{path} has the digest {found}, but {file.digest} was registered")


def _folder_of(library: Library, uri: FilesystemUri) -> FilePath:
    """Return the folder that holds the files; of a file that was named, the one in which it lies."""
    mount = _filesystem(library, uri.filesystem).path
    if (mount / str(uri.folder)).is_dir():
        return uri.folder
    parent = uri.folder.text.rpartition("/")[0]
    if not parent:
        reason = "a file can be registered only if it is in a folder of the filesystem"
        raise SourceUnreadable(path=mount / str(uri.folder), reason=reason)
    return FilePath(parent)


def _filesystem(library: Library, name: FilesystemName) -> Filesystem:
    known = library.settings.filesystems
    if str(name) not in known:
        said = f"known filesystems: {', '.join(sorted(known))}" if known else "none is configured on this machine"
        raise NoSuchFilesystem(filesystem=name, known=said, config=library.settings.config_file)
    found = known[str(name)]
    if not found.path.is_dir():
        raise SourceUnreadable(path=found.path, reason=f"the filesystem {name} is not mounted")
    return found


def _examine(
    file: SourceFile, stop: StopToken, on_bytes: Callable[[int], None], *, hash: bool, allow_code: bool, limits: Limits = DEFAULT
) -> tuple[PlacedFile, Header | None]:
    """One file by its header and, if asked for, by all its bytes. Raises NotWhatItSays, NamesCode, SourceChanged."""
    local = _local(file)
    stop.check()
    with local.open() as descriptor, os.fdopen(os.dup(descriptor), "rb") as content:
        header = inspect_file(content, local.size, file.path, limits)
        if may_name_code(file.path) and not allow_code:
            content.seek(0)
            refuse_named_code(content.read(limits.api_body_bytes), file.path, limits)
    digest = local.digest(stop, on_bytes) if hash else None
    return PlacedFile(file.path, file.role, local.size, local.changed, digest), header


def _license(listing: Listing) -> str | None:
    texts = [_local(file) for file in listing.files if is_license_file(file.path, file.role)]
    return licensing.told_by_texts(local.start(TEXT_BYTES) for local in texts)


def _local(file: SourceFile) -> LocalFile:
    """The file where it lies: all that a folder lists."""
    assert isinstance(file.wanted.body, LocalFile)
    return file.wanted.body
