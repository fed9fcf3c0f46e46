"""What every source does: pin once, then list what the pin holds. The bytes come through `transfer`, never from here."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from modelshelf.digest import Digest
from modelshelf.formats.kinds import Format, Role
from modelshelf.names import FilePath, ModelName, Tag
from modelshelf.sources.fetch import Wanted
from modelshelf.stop import StopToken
from modelshelf.wire import Login, Wire


@dataclass(frozen=True, slots=True)
class Pin:
    """What a moving tag or branch meant at one moment. Set once: everything after is asked for by it."""

    requested: Tag
    """The tag, branch or quantisation that was asked for, as it names the version and its alias."""
    resolved: str
    """A commit, or a manifest's digest in hex."""

    @property
    def version(self) -> Tag:
        """`<requested>-<first eight digits of the pin>`"""
        return Tag(f"{self.requested.text[:119]}-{self.resolved[:8]}")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a pin: where it lies in the model, what it is there, and how to get it."""

    path: FilePath
    role: Role
    wanted: Wanted

    @property
    def size(self) -> int:
        return self.wanted.body.size

    @property
    def digest(self) -> Digest | None:
        return self.wanted.digest


@dataclass(frozen=True, slots=True)
class Listing:
    """Everything that a pin holds. `inline` files came with the listing: a manifest, kept byte for byte."""

    format: Format
    files: tuple[SourceFile, ...]
    inline: tuple[tuple[FilePath, Role, bytes], ...] = ()
    license: str | None = None
    left_out: tuple[str, ...] = field(default=())
    """What the source has and we do not take, with the reason, for people to read."""

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files) + sum(len(content) for _, _, content in self.inline)


class Source(Protocol):
    """One model at one publisher."""

    @property
    def model(self) -> ModelName:
        """What the library calls it unless told otherwise."""

    @property
    def uri(self) -> str:
        """Its written form, without credentials."""

    @property
    def wire(self) -> Wire:
        """The client that its files are fetched with."""

    @property
    def login(self) -> Login | None:
        """What its own origin is shown when files are fetched; None if there is nothing to show."""

    def pin(self, stop: StopToken) -> Pin:
        """What the source holds now under the name that was asked for."""

    def list_files(self, pin: Pin, stop: StopToken) -> Listing:
        """The files of the pin, with sizes and, where the source tells, digests. No file is fetched."""
