"""Versions that lie in place on a registered filesystem: their files by path, size and time of change, digests on request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.engine import Connection

from modelshelf.catalog import aliases, journal, versions
from modelshelf.catalog.database import now
from modelshelf.catalog.journal import EventKind
from modelshelf.catalog.leases import Lease
from modelshelf.catalog.tables import place, place_file, version
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.formats.image import ModelFile, PlacedFile
from modelshelf.formats.kinds import Facts, Format, Role
from modelshelf.formats.parts import Parts
from modelshelf.names import FilePath, FilesystemName, ProjectName, Tag
from modelshelf.states import VersionState

_ROWS_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a version lies: below `folder` of the filesystem, in the filesystem's region."""

    filesystem: FilesystemName
    region: str
    folder: FilePath
    files: tuple[PlacedFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


def publish(
    connection: Connection, asking: ProjectName, target: Version, at: Place, *, format: Format, facts: Facts,
    license: str | None, lease: Lease, tag: Tag, who: str, parts: Parts | None = None,
) -> Version:  # fmt: skip
    """The version is ready and listed, its files where they were. Raises LeaseLost, and then nothing of it is visible."""
    lease.renew(connection)
    connection.execute(delete(place).where(place.c.version_id == target.id))
    connection.execute(
        insert(place).values(
            version_id=target.id, filesystem=str(at.filesystem), region=at.region, folder=str(at.folder), size=at.size,
            facts=asdict(facts),
        )
    )  # fmt: skip
    rows = [
        {
            "version_id": target.id, "path": str(file.path), "role": file.role, "size": file.size, "changed": file.changed,
            "digest": str(file.digest) if file.digest else None,
        }
        for file in at.files
    ]  # fmt: skip
    connection.execute(insert(place_file), rows)
    ready = {
        "state": VersionState.READY,
        "reason": None,
        "in_place": True,
        "format": format,
        "license": license,
        "parts": parts.to_json() if parts else None,
        "ready_at": now(connection),
    }
    connection.execute(update(version).where(version.c.id == target.id).values(**ready))
    journal.record_event(connection, asking, who, EventKind.VERSION_READY, str(target.ref), f"in place on {at.filesystem}")
    aliases.move_by_import(connection, asking, target, tag, who=who)
    return versions.get(connection, asking, target.id)


def of(connection: Connection, target: Version) -> Place:
    """Where a version that is in place lies, its files in the order of their paths."""
    at = connection.execute(select(place).where(place.c.version_id == target.id)).one()
    rows = connection.execute(select(place_file).where(place_file.c.version_id == target.id).order_by(place_file.c.path))
    return Place(FilesystemName(at.filesystem), at.region, FilePath(at.folder), tuple(_file(row) for row in rows))


def _file(row: Row[tuple[Any, ...]]) -> PlacedFile:
    digest = Digest.parse(row.digest) if row.digest else None
    return PlacedFile(FilePath(row.path), Role(row.role), row.size, row.changed, digest)


def files(connection: Connection, asking: ProjectName, target: Version) -> tuple[ModelFile, ...]:
    """What a ready version consists of, wherever it lies."""
    return of(connection, target).files if target.in_place else versions.files(connection, asking, target.id)


def everywhere(connection: Connection) -> Iterator[tuple[Version, Place]]:
    """The ready versions that lie in place, of every project, and where: for audits, read as it is asked for."""
    found = {one.id: one for one in versions.in_place(connection)}
    ready = version.c.in_place & (version.c.state == VersionState.READY)
    rows = connection.execute(
        select(place.c.filesystem, place.c.region, place.c.folder, place_file)
        .join(place_file, place_file.c.version_id == place.c.version_id)
        .where(place.c.version_id.in_(select(version.c.id).where(ready)))
        .order_by(place.c.version_id, place_file.c.path),
        execution_options={"yield_per": _ROWS_AT_ONCE},
    )
    for version_id, its in groupby(rows, key=lambda row: row.version_id):
        lies = list(its)
        at = Place(
            FilesystemName(lies[0].filesystem), lies[0].region, FilePath(lies[0].folder), tuple(_file(row) for row in lies)
        )
        yield found[version_id], at
