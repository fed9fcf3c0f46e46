"""The one name that content has: its sha256."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from io import BufferedReader
from typing import BinaryIO, Self, cast

from modelshelf.errors import BadDigest

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Digest:
    """A sha256, as 64 lower-case hex digits. One that is malformed cannot be made.

    Source of the written form `sha256:<hex>`: OCI image specification, "Digests". Other algorithms are refused:
    two names for one content would let the same bytes be checked by the weaker of them.
    """

    hex: str

    def __post_init__(self) -> None:
        if not isinstance(self.hex, str) or _HEX.fullmatch(self.hex) is None:
            raise BadDigest(text=repr(self.hex)[:100])

    @classmethod
    def parse(cls, text: str) -> Self:
        """The digest that `sha256:<64 lower-case hex digits>` names; anything else raises BadDigest."""
        scheme, _, digits = text.partition(":")
        if scheme != "sha256":
            raise BadDigest(text=repr(text)[:100])
        return cls(digits)

    @classmethod
    def of(cls, content: bytes) -> Self:
        return cls(hashlib.sha256(content).hexdigest())

    @classmethod
    def of_file(cls, file: BinaryIO) -> Self:
        """The digest of what is left to read of `file`."""
        return cls(hashlib.file_digest(cast(BufferedReader, file), "sha256").hexdigest())

    @property
    def short(self) -> str:
        """The first twelve digits, as `ollama list` and `docker images` show them."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"sha256:{self.hex}"


@dataclass(frozen=True, order=True, slots=True)
class Blob:
    """Content by its digest, and its size in bytes."""

    digest: Digest
    size: int
    stamp: str | None = field(default=None, compare=False)
    """What its store saw of it when it was proven, `Store.stamp`; None if that was not now."""
