"""The model data image as a value: what `packing` makes, the catalog lists and a node lays out."""

from __future__ import annotations

from dataclasses import dataclass

from modelshelf.digest import Blob, Digest
from modelshelf.formats.kinds import Facts, Format, Role
from modelshelf.names import FilePath


@dataclass(frozen=True, order=True, slots=True)
class PackedFile:
    """One file of an image. `size` in bytes."""

    path: FilePath
    role: Role
    digest: Digest
    size: int

    @property
    def media_type(self) -> str:
        return f"application/vnd.cncf.model.{self.role}.v1.raw"


@dataclass(frozen=True, order=True, slots=True)
class PlacedFile:
    """One file that lies in place on a filesystem of someone else. `size` in bytes."""

    path: FilePath
    role: Role
    size: int
    changed: int
    """When it was changed last, in nanoseconds as stat tells it."""
    digest: Digest | None
    """Known only if it was asked for: nothing is read otherwise but headers."""


ModelFile = PackedFile | PlacedFile
"""A file of a version, wherever the version lies."""


@dataclass(frozen=True, slots=True)
class Image:
    """An image's manifest and config as they are stored, and what they say."""

    format: Format
    files: tuple[PackedFile, ...]
    facts: Facts
    config: bytes
    manifest: bytes

    @property
    def digest(self) -> Digest:
        return Digest.of(self.manifest)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    @property
    def blobs(self) -> set[Blob]:
        """Everything that the store must hold for it."""
        own = {Blob(Digest.of(content), len(content)) for content in (self.config, self.manifest)}
        return own | {Blob(file.digest, file.size) for file in self.files}
