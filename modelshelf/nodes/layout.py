"""What an engine needs in its own folder, laid out there.

layout.json   the paths that were laid out last; the rest is the engine's own
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path

from modelshelf.durable import NO_LINK, write_whole
from modelshelf.engines.contract import Layout

_BY_DIGEST = re.compile(r"sha256-([0-9a-f]{64})", re.ASCII)


def lay_out(own: Path, folders: Sequence[Path], layout: Layout) -> None:
    """Lay it out in the folder `own`. `folders` are those of the models' files. Raises FileNotFoundError for a file that is gone.

    Safe to repeat: links that are right stay.
    """
    listing = own / "layout.json"
    before, now = _laid(listing), {str(path) for path in (*layout.links, *layout.copies)}
    # the list first: what it names and is not there does no harm
    write_whole(listing, json.dumps(sorted(now)))
    for folder in layout.folders:
        (own / str(folder)).mkdir(parents=True, exist_ok=True, mode=0o700)
    for path, (number, file) in layout.links.items():
        _link(folders[number] / str(file), _place(own, str(path)))
    for path, content in layout.copies.items():
        write_whole(_place(own, str(path)), content, mode=0o644)
    _remove(own, before - now, layout)


def _laid(listing: Path) -> set[str]:
    return set(json.loads(listing.read_text())) if listing.exists() else set()


def _place(own: Path, path: str) -> Path:
    place = own / path
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def _link(file: Path, place: Path) -> None:
    """Make a hard link; where none can be made, the file is reached through a symbolic link."""
    try:
        if place.samefile(file):
            return
    except FileNotFoundError:  # also a symbolic link whose file has gone
        pass
    place.unlink(missing_ok=True)
    try:
        os.link(file, place)
    except OSError as error:
        if error.errno not in NO_LINK:
            raise
        place.symlink_to(file)


def _remove(own: Path, stale: set[str], layout: Layout) -> None:
    by_digest = {path: found[1] for path in stale if (found := _BY_DIGEST.fullmatch(Path(path).name))}
    for path in stale - by_digest.keys():
        (own / path).unlink(missing_ok=True)
    if by_digest:
        named = _named_below(own / str(layout.referrers)) if layout.referrers is not None else b""
        for path, digest in by_digest.items():
            if digest.encode() not in named:
                (own / path).unlink(missing_ok=True)


def _named_below(folder: Path) -> bytes:
    """Return what stands in the files below the folder, those that the engine wrote among them."""
    return b"\n".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())
