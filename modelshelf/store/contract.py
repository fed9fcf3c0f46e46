"""What every store keeps true, whatever it is made of. `tests/store/suite.py` holds each store to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from modelshelf.digest import Blob, Digest
from modelshelf.stop import StopToken
from modelshelf.store.locks import DigestLocks
from modelshelf.transfer.contract import Destination


class Ingest(Destination, Protocol):
    """Where one blob arrives. Invisible until committed, kept when the process dies, and resumed by the next `begin`.

    Used as a context manager it lets go of the place without discarding what has arrived.
    """

    def look(self) -> BinaryIO:
        """What has arrived, for reading before it is committed."""

    def digest(self) -> Digest:
        """The sha256 of what has arrived, once everything has; the last bytes are waited for."""

    def commit(
        self, digest: Digest, *, what: str, whose: str, stop: StopToken | None = None,
        then: Callable[[Blob], None] = lambda _blob: None,
    ) -> Blob:  # fmt: skip
        """The content is durable and can be opened under `digest`; the blob comes with its stamp.

        Raises DigestMismatch, and keeps nothing, if its bytes have another one. If something is at its place already, it is
        read: a true copy stays and this one goes, anything else is replaced. `then` is called while nobody can remove the blob.
        Raises BlobBeingDeleted, and keeps what has arrived, if another process is at the digest for too long.
        """

    def discard(self) -> None:
        """Remove what has arrived."""

    def __enter__(self) -> Self: ...

    def __exit__(self, *exc: object) -> None: ...


class Store(Protocol):
    """One region's content."""

    locks: DigestLocks

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
        """The blob is gone; the bytes freed, 0 if it was not there.

        The caller holds the digest's lock (`locks.removing`), and has looked inside it whether this is still meant.
        """

    def stamp(self, digest: Digest) -> str | None:
        """What can be seen of the committed blob without reading it: as long as it stays equal, nobody touched the blob.

        Opaque to everybody else. None if there is no blob, or something that is none of ours in its place.
        """

    def stamps(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        """The stamps of those of the blobs that are there."""

    def only_linked(self, before: str, after: str) -> bool:
        """The two stamps differ at most by links that were made to the blob, or removed."""

    def read_through(
        self, digest: Digest, stop: StopToken, on_bytes: Callable[[int], None] = lambda _count: None
    ) -> tuple[str, Digest]:
        """Read every byte: the stamp as it was before the first of them, and the digest that they have. Raises BlobMissing."""

    def blobs(self) -> Iterator[Blob]:
        """Every committed blob, in no order."""

    def free_bytes(self) -> int:
        """Free space where content arrives."""


class LocalStore(Store, Protocol):
    """A store whose blobs are files here, so that a node beside it can link to them."""

    def path_of(self, digest: Digest) -> Path:
        """The committed blob's file: read-only, never to be written through. Raises BlobMissing."""
