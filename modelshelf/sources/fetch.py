"""One file from its source into a store: arrived, proven, and only then visible."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass

from modelshelf.digest import Blob, Digest
from modelshelf.errors import DigestMismatch, LimitExceeded, SizeMismatch
from modelshelf.formats.allowed import inspect_file
from modelshelf.formats.kinds import Header
from modelshelf.limits import DEFAULT, Limits
from modelshelf.names import FilePath
from modelshelf.store.contract import Ingest, Store
from modelshelf.transfer.contract import Body, Downloads, Span


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a source lists of one file. With neither digest nor git object id, its size is all that it promised."""

    path: FilePath
    body: Body
    digest: Digest | None = None
    git_oid: str | None = None

    @property
    def key(self) -> Digest:
        """Which fetch this is, so that an interrupted one is resumed."""
        return self.digest or Digest.of(f"{self.body.address}\n{self.git_oid}\n{self.body.size}".encode())

    @property
    def is_proven(self) -> bool:
        """A digest or a git object id decides in the end whether the bytes are the right ones."""
        return self.digest is not None or self.git_oid is not None


def fetch_blob(
    store: Store, downloads: Downloads, wanted: Wanted, limits: Limits = DEFAULT,
    then: Callable[[Blob], None] = lambda _blob: None,
) -> tuple[Blob, Header | None]:  # fmt: skip
    """The file is in the store under the digest of its bytes, which are what the source lists and the name says.

    `then` is called while nobody can remove it.

    A resumed download that fails its proof is thrown away and fetched once more from byte zero: what an earlier
    process left may have been damaged since.
    """
    with store.begin(wanted.key, wanted.body.size) as ingest:
        resumed = ingest.resumed
        try:
            return _arrive(ingest, downloads, wanted, limits, then)
        except (DigestMismatch, SizeMismatch):
            if not resumed:
                raise
    with store.begin(wanted.key, wanted.body.size) as ingest:
        return _arrive(ingest, downloads, wanted, limits, then)


def read_small(downloads: Downloads, wanted: Wanted, limits: Limits = DEFAULT) -> bytes:
    """The file's bytes, proven as those of `fetch_blob` are, and stored nowhere. Raises LimitExceeded if they are too many."""
    size, whose = wanted.body.size, wanted.body.whose
    if size > limits.api_body_bytes:
        raise LimitExceeded(what=wanted.path, found=f"{size:,} bytes", limit=f"{limits.api_body_bytes:,} bytes in a dry run")
    arriving = _InMemory(size)
    downloads.fetch(wanted.body, arriving, proven=wanted.is_proven)
    content = bytes(arriving.content)
    found = Digest.of(content)
    if wanted.digest is None and wanted.git_oid is not None:
        prove_git_object(content, oid=wanted.git_oid, what=str(wanted.path), whose=whose)
    if found != (wanted.digest or found):
        raise DigestMismatch(what=wanted.path, whose=whose, expected=wanted.digest, found=found, size=f"{size:,}")
    inspect_file(io.BytesIO(content), size, wanted.path, limits)
    return content


class _InMemory:
    """A `Destination` that no process goes on with. Parts write to places of their own."""

    resumed = False

    def __init__(self, size: int) -> None:
        self.content = bytearray(size)
        self._finished: list[Span] = []

    def validator(self) -> str | None:
        return None

    def begin_with(self, validator: str | None) -> None:
        pass

    def missing(self, part_bytes: int) -> list[Span]:
        size = len(self.content)
        return [Span(at, min(at + part_bytes, size)) for at in range(0, size, part_bytes)]

    def write_at(self, offset: int, *pieces: bytes) -> None:
        data = b"".join(pieces)
        self.content[offset : offset + len(data)] = data

    def finish(self, span: Span) -> None:
        self._finished.append(span)

    def arrived(self) -> int:
        return sum(map(len, self._finished))

    def reset(self) -> None:
        self._finished.clear()


def _arrive(
    ingest: Ingest, downloads: Downloads, wanted: Wanted, limits: Limits, then: Callable[[Blob], None]
) -> tuple[Blob, Header | None]:
    downloads.fetch(wanted.body, ingest, proven=wanted.is_proven)
    whose = wanted.body.whose
    try:
        digest = ingest.digest()
        if wanted.digest is None and wanted.git_oid is not None:
            with ingest.look() as file:
                prove_git_object(file.read(), oid=wanted.git_oid, what=str(wanted.path), whose=whose)
        header = None
        if digest == (wanted.digest or digest):
            with ingest.look() as file:
                header = inspect_file(file, wanted.body.size, wanted.path, limits)
    except BaseException:
        ingest.discard()
        raise
    blob = ingest.commit(wanted.digest or digest, what=str(wanted.path), whose=whose, stop=downloads.stop, then=then)
    return blob, header


def prove_git_object(content: bytes, *, oid: str, what: str, whose: str) -> None:
    """Raise DigestMismatch unless the content is the git blob `oid`.

    Source: git's object format, sha1 over `blob <size>` NUL and the content.
    """
    found = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if found != oid:
        raise DigestMismatch(what=what, whose=whose, expected=f"git:{oid}", found=f"git:{found}", size=len(content))
