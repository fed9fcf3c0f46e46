"""Whether the store's bytes are still those that were proven.

A blob's stamp is compared with the one that was recorded when it was proven: a stat call. Where they differ, or none is
recorded, the blob is read through: then it has a new stamp, or it is bad. Links that we make and remove change stamps without
touching a byte; `linking` records the new ones, so that they do not cost a reading each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from modelshelf.catalog import blobs
from modelshelf.catalog.blobs import Recorded
from modelshelf.catalog.versions import Version
from modelshelf.digest import Digest
from modelshelf.errors import BlobDamaged, BlobMissing, StoreDamaged
from modelshelf.formats.image import PackedFile
from modelshelf.library.opening import Library
from modelshelf.stop import StopToken


@dataclass(frozen=True, slots=True)
class Checked:
    """Blobs that are whole, with their stamps; and those that are not, with what was found."""

    whole: dict[Digest, str]
    bad: dict[Digest, str]


def check(library: Library, wanted: Iterable[Digest], stop: StopToken, *, record: bool = True) -> Checked:
    """Look at each blob, and read those whose stamp is not the recorded one; the new stamps are recorded, unless told not to."""
    with library.catalog.reading() as connection:
        recorded = blobs.recorded_of(connection, library.store_id, wanted := set(wanted))
    return check_recorded(library, {digest: recorded.get(digest) for digest in wanted}, stop, record=record)


def check_recorded(
    library: Library, wanted: Mapping[Digest, Recorded | None], stop: StopToken, *, record: bool = True
) -> Checked:
    """Do the same for blobs whose rows were just read; None for one that has no row."""
    seen = library.store.stamps(wanted.keys())
    touched = [digest for digest, stamp in seen.items() if (row := wanted[digest]) is None or row.stamp != stamp]
    bad = dict.fromkeys(wanted.keys() - seen.keys(), "its file is gone, or is no file of ours")
    proven, wrong = read_all(library, touched, stop)
    if proven and record:
        with library.catalog.writing() as connection:
            blobs.prove(connection, library.store_id, proven)
    return Checked({**{d: s for d, s in seen.items() if d not in wrong}, **proven}, {**bad, **wrong})


def read_all(
    library: Library, wanted: Collection[Digest], stop: StopToken, on_bytes: Callable[[int], None] = lambda _count: None
) -> tuple[dict[Digest, str], dict[Digest, str]]:
    """Read these blobs through, on every processor: the stamps of those that are right, and what the others are."""
    proven: dict[Digest, str] = {}
    wrong: dict[Digest, str] = {}
    if not wanted:
        return proven, wrong

    def read(digest: Digest) -> None:
        try:
            stamp, found = library.store.read_through(digest, stop, on_bytes)
        except (BlobMissing, StoreDamaged, OSError) as error:
            wrong[digest] = f"it cannot be read: {error}"
            return
        if found == digest:
            proven[digest] = stamp
        else:
            wrong[digest] = f"its bytes have the digest {found}"

    with ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="prove") as pool:
        for _ in pool.map(read, wanted):
            pass
    return proven, wrong


@contextmanager
def linking(library: Library, digests: Iterable[Digest]) -> Iterator[None]:
    """Within, hard links to these blobs are made or removed. Those that were untouched before are so afterwards."""
    with library.catalog.reading() as connection:
        recorded = blobs.recorded_of(connection, library.store_id, digests)
    before = {d: s for d, s in library.store.stamps(recorded).items() if recorded[d].stamp == s}
    try:
        yield
    finally:
        after = library.store.stamps(before)
        changed = {
            digest: (before[digest], stamp)
            for digest, stamp in after.items()
            if stamp != before[digest] and library.store.only_linked(before[digest], stamp)
        }
        if changed:
            with library.catalog.writing() as connection:
                blobs.restamp(connection, library.store_id, changed)


def require_whole(library: Library, target: Version, files: Iterable[PackedFile], stop: StopToken) -> None:
    """Raise BlobDamaged, with the command that mends it, if the store lacks one of the files or has it damaged."""
    files = list(files)
    bad = check(library, {file.digest for file in files}, stop).bad
    for file in files:
        if file.digest in bad:
            raise BlobDamaged(file=file.path, what=target.ref, digest=file.digest, reason=bad[file.digest], source=target.source)
