"""Where the disk went: every byte below the home folder is in exactly one part, so the parts add up to the whole."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from modelshelf.catalog import blobs, images, instances, versions
from modelshelf.library.opening import Library
from modelshelf.names import ProjectName


@dataclass(frozen=True, slots=True)
class Share:
    """One version. `size` in bytes, manifest and config counted; of it `shared` are others' too, `frees` go with it.

    `held` says why it cannot be deleted now.
    """

    ref: str
    size: int
    shared: int
    frees: int
    held: str


@dataclass(frozen=True, slots=True)
class DiskReport:
    """Bytes on disk. `images` + `replicas` + `instances` + `partial` + `reserved` + `orphans` + `catalog` + `other` = `total`."""

    images: int
    """Content that the catalog counts on; a replica's and an instance's links to it cost nothing."""
    replicas: int
    """Replicas' own bytes: markers, and copies where links were not possible."""
    instances: int
    """What engines wrote: logs, models made inside, caches."""
    partial: int
    """What has arrived of downloads that are not finished."""
    reserved: int
    """What such downloads have set aside for the rest."""
    orphans: int
    catalog: int
    other: int
    total: int
    free: int
    versions: tuple[Share, ...]


def report(library: Library, asking: ProjectName, limit: int = 100) -> DiskReport:
    """What is on the disk now, and of the project's newest versions what each would free."""
    with library.catalog.reading() as connection:
        counted = {digest.hex for digest, _, _ in blobs.recorded(connection, library.store_id)}
        newest = versions.page(connection, asking, limit=limit)
    home, store = library.settings.home, library.settings.store
    parts = dict.fromkeys(("images", "replicas", "instances", "reserved", "orphans", "catalog", "other"), 0)
    seen: set[tuple[int, int]] = set()
    # the store first: a file that others link to is the store's
    # store and node by themselves: either may be a link to another file system
    for root in (store / "blobs", store, library.settings.node, home):
        for path, told in _files(root):
            if (told.st_dev, told.st_ino) in seen:
                continue
            seen.add((told.st_dev, told.st_ino))
            parts[_part(path, library, counted)] += told.st_blocks * 512
    partial = min(parts["reserved"], sum(one.arrived for one in library.store.arriving()))
    parts["reserved"] -= partial
    shares = _shares(library, [one for one in newest if one.image is not None])
    return DiskReport(
        **parts, partial=partial, total=sum(parts.values()) + partial, free=library.store.free_bytes(), versions=shares
    )


def _part(path: Path, library: Library, counted: set[str]) -> str:
    settings = library.settings
    if path.is_relative_to(settings.store / "blobs"):
        return "images" if path.name in counted or path.is_dir() else "orphans"
    if path.is_relative_to(settings.store / "ingest"):
        return "reserved"
    if path.is_relative_to(settings.node / "replicas"):
        return "replicas"
    if path.is_relative_to(settings.node / "instances"):
        return "instances"
    return "catalog" if path.name.startswith("catalog.") else "other"


def _shares(library: Library, listed: list[versions.Version]) -> tuple[Share, ...]:
    with library.catalog.reading() as connection:
        taken = images.shares(connection, library.store_id, [one.id for one in listed])
        held = instances.holders_of(connection, listed)
    nothing = images.Share(0, 0)
    return tuple(
        Share(str(one.ref), bytes.size, bytes.size - bytes.alone, bytes.alone, ", ".join(held[one.id]))
        for one in listed
        for bytes in (taken.get(one.id, nothing),)
    )


def _files(root: Path) -> list[tuple[Path, os.stat_result]]:
    """Everything below, folders too; what vanishes meanwhile is left out."""
    found: list[tuple[Path, os.stat_result]] = []
    for folder, _, names in os.walk(root):
        for path in (Path(folder), *(Path(folder) / name for name in names)):
            try:
                found.append((path, path.lstat()))
            except FileNotFoundError:
                continue
    return found
