"""Aliases that people set: promote, roll back, let go; and what a version is marked with."""

from __future__ import annotations

from enum import StrEnum

from modelshelf.catalog import aliases, journal, replicas, versions
from modelshelf.catalog.journal import EventKind
from modelshelf.catalog.versions import Version
from modelshelf.library.opening import Library
from modelshelf.names import ModelName, ModelRef, ProjectName, Tag


class Change(StrEnum):
    """What can be changed of a version, or of its model; the flow `change-version` takes these words."""

    PROMOTE = "promote"
    ROLL_BACK = "roll-back"
    UNALIAS = "unalias"
    DISABLE = "disable"
    ENABLE = "enable"
    AUTO_CACHE = "auto-cache"
    NO_AUTO_CACHE = "no-auto-cache"
    PIN = "pin"
    UNPIN = "unpin"
    CATEGORY = "category"


def promote(library: Library, asking: ProjectName, ref: ModelRef, tag: Tag, *, who: str) -> Version:
    """The alias names this version, and holds it. Raises Disabled or NotReady."""
    with library.catalog.writing() as connection:
        target = versions.require_selectable(versions.find(connection, asking, ref))
        aliases.move(connection, asking, target, tag, who=who, held=True)
        return versions.get(connection, asking, target.id)


def roll_back(library: Library, asking: ProjectName, ref: ModelRef, tag: Tag, *, who: str) -> Version:
    """Let the alias name the version of `ref` again, or where that names none, what it named before its last move.

    Raises NoSuchAlias, or NoSuchModel if that version is gone. With a version it is safe to run again; without one, a second
    call undoes the first.
    """
    with library.catalog.writing() as connection:
        before = ref.tag or aliases.previous(connection, asking, ref.model, tag)
        target = versions.require_selectable(versions.find(connection, asking, ModelRef(ref.model, before)))
        aliases.move(connection, asking, target, tag, who=who, held=True)
        return versions.get(connection, asking, target.id)


def let_go(library: Library, asking: ProjectName, model: ModelName, tag: Tag, *, who: str) -> Version:
    """The alias is gone; its version stays. Raises NoSuchAlias or NoSuchModel."""
    with library.catalog.writing() as connection:
        target = versions.find(connection, asking, ModelRef(model, tag))
        aliases.remove(connection, asking, target, tag, who=who)
        return versions.get(connection, asking, target.id)


def mark(library: Library, asking: ProjectName, ref: ModelRef, *, who: str, **marks: bool) -> Version:
    """`disabled`: not selectable for launches and templates. `auto_cache`: brought to every node."""
    with library.catalog.writing() as connection:
        target = versions.find(connection, asking, ref)
        if marks.get("auto_cache"):
            versions.require_image(target, "there is nothing to cache")
        versions.mark(connection, asking, target, who, **marks)
        return versions.get(connection, asking, target.id)


def is_already(library: Library, asking: ProjectName, ref: ModelRef, change: Change) -> bool:
    """Return whether the version is as `change` would make it: not pinned, or not cached on every node. Other changes: False."""
    if change not in (Change.UNPIN, Change.NO_AUTO_CACHE):
        return False
    with library.catalog.reading() as connection:
        target = versions.find(connection, asking, ref)
        return not (replicas.is_pinned(connection, library.node_id, target) if change is Change.UNPIN else target.auto_cache)


def pin(library: Library, asking: ProjectName, ref: ModelRef, *, who: str, pinned: bool) -> Version:
    """Its replica on this node is never evicted, or may be again. Raises NoReplica if there is none."""
    with library.catalog.writing() as connection:
        target = versions.find(connection, asking, ref)
        replicas.pin(connection, library.node_id, target, pinned=pinned)
        what = EventKind.REPLICA_PINNED if pinned else EventKind.REPLICA_UNPINNED
        journal.record_event(connection, target.project, who, what, str(target.ref), f"on {library.node_at.name}")
        return target
