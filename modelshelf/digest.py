"""The one name that content has: its sha256."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BufferedReader, FileIO
from typing import BinaryIO, Self, cast

from modelshelf.errors import BadDigest
from modelshelf.stop import StopToken

_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)
_STEP = 1 << 20


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
    def of_file(
        cls, file: BinaryIO | FileIO, stop: StopToken | None = None,
        on_piece: Callable[[memoryview], object] = lambda _piece: None,
    ) -> Self:  # fmt: skip
        """Return the digest of what is left to read of `file`; each piece is hashed and then given to `on_piece`.

        Raises Stopped between two pieces.
        """
        seen, buffer = hashlib.sha256(), memoryview(bytearray(_STEP))
        while count := cast(BufferedReader, file).readinto(buffer):
            if stop is not None:
                stop.check()
            seen.update(buffer[:count])
            on_piece(buffer[:count])
        return cls(seen.hexdigest())

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
