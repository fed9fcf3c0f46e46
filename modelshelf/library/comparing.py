"""The difference of two versions: files, bytes, what their headers say, and what this node would have to fetch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from modelshelf.catalog import places, versions
from modelshelf.catalog.versions import Version
from modelshelf.formats.image import ModelFile
from modelshelf.formats.kinds import Facts
from modelshelf.library.opening import Library
from modelshelf.names import ModelRef, ProjectName


@dataclass(frozen=True, slots=True)
class FileChange:
    """One path: its size in bytes before and after, None where it is not; `same` if its content is known to be equal."""

    path: str
    before: int | None
    after: int | None
    same: bool


@dataclass(frozen=True, slots=True)
class Difference:
    """What changes from one version to the other. Sizes in bytes."""

    before: ModelRef
    after: ModelRef
    files: tuple[FileChange, ...]
    facts: tuple[tuple[str, Any, Any], ...]
    """What is known of the versions and differs: what, before, after."""
    shared: int
    """Bytes of `after` that `before` has too, under whatever name."""
    new: int
    to_fetch: int
    """Bytes that this node lacks to serve `after`."""


def compare(library: Library, asking: ProjectName, before: ModelRef, after: ModelRef) -> Difference:
    """The difference of two ready versions that the project may see."""
    with library.catalog.reading() as connection:
        old, new = (versions.require_ready(versions.find(connection, asking, ref)) for ref in (before, after))
        old_files, new_files = (places.files(connection, asking, one) for one in (old, new))
        to_fetch = bytes_to_fetch(library, connection, asking, new)
    had = {file.digest for file in old_files}
    shared = sum(file.size for file in new_files if file.digest is not None and file.digest in had)
    return Difference(
        before=old.ref,
        after=new.ref,
        files=_changes(old_files, new_files),
        facts=_facts(old, new),
        shared=shared,
        new=sum(file.size for file in new_files) - shared,
        to_fetch=to_fetch,
    )


def bytes_to_fetch(library: Library, connection: Connection, asking: ProjectName, target: Version) -> int:
    """Bytes that this node lacks to serve the version: what it links needs none."""
    files = versions.files(connection, asking, target.id)
    if target.image is None or library.node.replicas.holds(target.image, files):
        return 0
    there = library.store.sizes(file.digest for file in files)
    return sum(file.size for file in files if file.digest not in there)


def _changes(before: tuple[ModelFile, ...], after: tuple[ModelFile, ...]) -> tuple[FileChange, ...]:
    old, new = ({str(file.path): file for file in files} for files in (before, after))
    return tuple(
        FileChange(
            path,
            old[path].size if path in old else None,
            new[path].size if path in new else None,
            path in old and path in new and old[path].digest is not None and old[path].digest == new[path].digest,
        )
        for path in sorted(old.keys() | new.keys())
    )


def _facts(before: Version, after: Version) -> tuple[tuple[str, Any, Any], ...]:
    pairs = [(name, getattr(before.facts, name), getattr(after.facts, name)) for name in Facts.__slots__]
    pairs += [(name, getattr(before, name), getattr(after, name)) for name in ("format", "license", "source", "resolved", "size")]
    return tuple(pair for pair in pairs if pair[1] != pair[2])
