"""What every store keeps true, whatever it is made of. `tests/store/suite.py` holds each store to it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol, Self

from modelshelf.digest import Blob, Digest
from modelshelf.formats.image import Image
from modelshelf.names import ModelRef
from modelshelf.stop import StopToken
from modelshelf.transfer.contract import Body, Destination


@dataclass(frozen=True, order=True, slots=True)
class Stored:
    """What lies in the store under a digest. `size` in bytes, `age` in seconds since it was committed, or an import found it
    there and counted on it."""

    digest: Digest
    size: int
    age: float = field(compare=False)


@dataclass(frozen=True, order=True, slots=True)
class Arriving:
    """One unfinished arrival. `key` says which fetch it is (`Store.begin`); `arrived` and `reserved` in bytes.

    `reserved` is the space that is set aside for it already, arrived or not.
    """

    key: Digest
    arrived: int
    reserved: int


class Locks(Protocol):
    """Locks by digest: while one process removes or replaces a blob, nobody counts on it (decision 0020).

    Not to be nested. A process that is paused keeps its locks, and one that dies keeps none.
    """

    def removing(self, digest: Digest, stop: StopToken | None = None) -> AbstractContextManager[None]:
        """Nobody else removes, replaces or counts on the digest within.

        Raises Stopped, or BlobBeingDeleted with the holder if it is not free within `Limits.lock_seconds`.
        """

    def counting_on(self, digests: Collection[Digest], stop: StopToken | None = None) -> AbstractContextManager[None]:
        """Nobody removes or replaces these within; others may count on them too. Raises as `removing` does."""


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
    """One region's content. `str(store)` names it in messages: its folder, or its address."""

    @property
    def locks(self) -> Locks: ...

    def sizes(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        """Return the size in bytes of each of these that is committed. Raises StoreDamaged if something else is in its place."""

    def open(self, digest: Digest) -> BinaryIO:
        """Return the committed blob for reading. Raises BlobMissing, or StoreDamaged."""

    def body(self, digest: Digest) -> Body:
        """Return the committed blob as it delivers itself into another store: from a file, or by HTTP in ranges.

        Raises BlobMissing, or StoreDamaged.
        """

    def read_each(self, digests: Iterable[Digest], at_most: int) -> Iterator[tuple[Digest, bytes | None]]:
        """The first `at_most` bytes of each of these blobs, in their order; None for what is not there or no blob of ours."""

    def begin(self, key: Digest, size: int) -> Ingest:
        """Return a place for a blob of `size` bytes.

        `key` says which fetch it is, so that an interrupted one is resumed: the expected digest, or a digest of the
        source's own name for it. Two processes never share a place.
        """

    def put(self, content: bytes) -> Blob:
        """Store small content, a licence say, whole and durable."""

    def publish(self, image: Image, reference: ModelRef) -> set[Blob]:
        """Store the image's config and manifest, whose other blobs are there; return the two.

        Where other tools can ask the store, they find the image under the reference from now on.
        """

    def delete(self, digest: Digest) -> int:
        """Remove the blob; return the bytes freed, 0 if it was not there.

        The caller holds the digest's lock (`locks.removing`), and has looked inside it whether this is still meant.
        """

    def stamps(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        """Return the stamp of each of these blobs that is there: what can be seen of it without reading it (decision 0019).

        As long as it stays equal, nobody touched the blob. Opaque to everybody else. Something else in a blob's place has none.
        """

    def only_linked(self, before: str, after: str) -> bool:
        """The two stamps differ at most by links that were made to the blob, or removed."""

    def read_through(
        self, digest: Digest, stop: StopToken, on_bytes: Callable[[int], None] = lambda _count: None
    ) -> tuple[str, Digest]:
        """Read every byte: the stamp as it was before the first of them, and the digest that they have. Raises BlobMissing."""

    def stored(self, among: Iterable[Digest] | None = None) -> Iterator[Stored]:
        """Return what lies under a digest's name, damaged or not: everything in no order, or what there is of `among`."""

    def foreign(self) -> Iterator[str]:
        """Return the names of what lies among the blobs and has no digest for its name: nobody uses it."""

    def arriving(self) -> Iterator[Arriving]:
        """Return each unfinished arrival, of a process that lives or of one that died."""

    def discard_abandoned(self, seconds: float) -> int:
        """Remove the arrivals that nothing was written to for so long, unless a process is at them; return the bytes freed."""

    def free_bytes(self) -> int:
        """Free space where content arrives."""


class LocalStore(Store, Protocol):
    """A store whose blobs are files of this machine: a node on the same file system may link to them."""

    def path_of(self, digest: Digest) -> Path:
        """Return the committed blob's file: read-only, never to be written through. Raises BlobMissing."""
