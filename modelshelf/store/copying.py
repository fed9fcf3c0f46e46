"""A copy of a blob outside of its store, proven while it is made."""

from __future__ import annotations

import os
from pathlib import Path

from modelshelf.digest import Digest
from modelshelf.errors import StoreDamaged
from modelshelf.stop import StopToken
from modelshelf.store.contract import Store
from modelshelf.store.files import stamp_of


def copy_blob(store: Store, digest: Digest, to: Path, stop: StopToken, *, mode: int | None = None) -> str:
    """Write the blob to the new file `to`, durable and proven byte for byte; return the file's stamp (`files.stamp_of`).

    Raises StoreDamaged, and leaves a file that is not to be used, if the bytes have another digest; OSError if `to` cannot be
    written; BlobMissing; Stopped.
    """
    with store.open(digest) as blob, to.open("xb") as copy:
        found = Digest.of_file(blob, stop, copy.write)
        copy.flush()
        if mode is not None:
            os.fchmod(copy.fileno(), mode)
        os.fsync(copy.fileno())
        stamp = stamp_of(os.fstat(copy.fileno()))
    if found != digest:
        raise StoreDamaged(path=f"{digest} ({store})", reason=f"its bytes have the digest {found}")
    return stamp
