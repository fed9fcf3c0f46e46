"""What every store keeps true, whatever it is made of. `tests/store/suite.py` holds each store to it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from modelshelf.digest import Blob, Digest
from modelshelf.transfer import Destination


class Ingest(Destination, Protocol):
    """Where one blob arrives. Invisible until committed, kept when the process dies, and resumed by the next `begin`.

    Used as a context manager it lets go of the place without discarding what has arrived.
    """

    def look(self) -> BinaryIO:
        """What has arrived, for reading before it is committed."""

    def digest(self) -> Digest:
        """The sha256 of what has arrived, once everything has; the last bytes are waited for."""

    def commit(self, digest: Digest, *, what: str, whose: str) -> Blob:
        """The content is durable and can be opened under `digest`.

        Raises DigestMismatch, and keeps nothing, if its bytes have another one. If the store holds the digest
        already, that copy stays and this one goes.
        """

    def discard(self) -> None:
        """Remove what has arrived."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class Store(Protocol):
    """One region's content."""

    def size_of(self, digest: Digest) -> int | None:
        """The size of the committed blob in bytes; None if it is not there."""

    def open(self, digest: Digest) -> BinaryIO:
        """The committed blob, for reading. Raises BlobMissing."""

    def read_each(self, digests: Iterable[Digest], at_most: int) -> Iterator[tuple[Digest, bytes | None]]:
        """The first `at_most` bytes of each of these blobs, in their order; None for what is not there or no blob of ours."""

    def begin(self, key: Digest, size: int) -> Ingest:
        """A place for a blob of `size` bytes.

        `key` says which fetch it is, so that an interrupted one is resumed: the expected digest, or a digest of the
        source's own name for it. Two processes never share a place.
        """

    def put(self, content: bytes) -> Blob:
        """Store small content, a manifest say, whole and durable."""

    def delete(self, digest: Digest) -> int:
        """The blob is gone; the bytes freed, 0 if it was not there."""

    def blobs(self) -> Iterator[Blob]:
        """Every committed blob, in no order."""

    def free_bytes(self) -> int:
        """Free space where content arrives."""


class LocalStore(Store, Protocol):
    """A store whose blobs are files here, so that a node beside it can link to them."""

    def path_of(self, digest: Digest) -> Path:
        """The committed blob's file: read-only, never to be written through. Raises BlobMissing."""
