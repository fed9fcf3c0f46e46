"""Aliases: movable names of versions, with the history of who moved what when.

An import moves the alias that its tag or branch is, but only within one publisher's versions and one branch's: `x:1` never
becomes somebody else's by an import. One that a person sets (`stable`, `canary`) holds its version: it is
not deleted or cleaned while it is called so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Row, insert, select, update
from sqlalchemy import delete as delete_from
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import now
from modelshelf.catalog.ids import VersionId
from modelshelf.catalog.tables import alias, alias_move, version
from modelshelf.errors import NoSuchAlias, OtherBranch, OtherPublisher
from modelshelf.names import ModelName, ProjectName, Tag
from modelshelf.publishers import branch_of, publisher_of
from modelshelf.states import VersionState

if TYPE_CHECKING:  # versions are published under an alias
    from modelshelf.catalog.versions import Version


@dataclass(frozen=True, slots=True)
class Move:
    """One move of an alias: version names, None where there was none. `at` in seconds since 1970."""

    at: float
    alias: str
    before: str | None
    after: str | None
    who: str


def move(connection: Connection, asking: ProjectName, target: Version, tag: Tag, *, who: str, held: bool = False) -> None:
    """The alias names this version from now on; the move is in its history. `held`: it keeps its version from deletion."""
    _move(connection, asking, target, tag, _named(connection, target, tag), who=who, held=held)


def move_by_import(connection: Connection, asking: ProjectName, target: Version, tag: Tag, *, who: str) -> None:
    """Let the alias that is the import's tag name the version. Raises OtherPublisher or OtherBranch."""
    before = _named(connection, target, tag)
    _require_publisher(connection, target, tag, before)
    _move(connection, asking, target, tag, before, who=who, held=False)


def require_publisher(connection: Connection, target: Version, tag: Tag) -> None:
    """Raise OtherPublisher or OtherBranch if an import of `target` must not set the alias `tag`.

    The alias names another publisher's version; or it is `latest`, to which the bare name of the model leads, and the model
    has ready versions of another publisher; or the alias names another branch's version (`a/b` and `a-b` are one alias).
    """
    _require_publisher(connection, target, tag, _named(connection, target, tag))


_Named = Row[tuple[int, str, str]]
"""What an alias names: the version's id, name and source."""


def _named(connection: Connection, target: Version, tag: Tag) -> _Named | None:
    """Return what the alias of the version's model names now."""
    here = (alias.c.model_id == target.model_id) & (alias.c.name == str(tag))
    return connection.execute(
        select(alias.c.version_id, version.c.name, version.c.source).join(version).where(here)
    ).one_or_none()


def _move(
    connection: Connection, asking: ProjectName, target: Version, tag: Tag, before: _Named | None, *, who: str, held: bool
) -> None:
    here = (alias.c.model_id == target.model_id) & (alias.c.name == str(tag))
    if before is None:
        row = {"model_id": target.model_id, "name": str(tag), "version_id": target.id, "held": held}
        connection.execute(insert(alias).values(row))
    elif held:
        connection.execute(update(alias).where(here).values(version_id=target.id, held=True))
    elif before.version_id != target.id:
        connection.execute(update(alias).where(here).values(version_id=target.id))
    if before is None or before.version_id != target.id:
        _record(connection, asking, target.model, tag, before.name if before else None, str(target.name), who)


def _require_publisher(connection: Connection, target: Version, tag: Tag, named: _Named | None) -> None:
    sources = [named.source] if named is not None and named.version_id != target.id else []
    branches = [branch_of(source) for source in sources]
    if not sources and tag.text == "latest":
        others = select(version.c.source).where(version.c.model_id == target.model_id, version.c.id != target.id)
        sources = list(connection.scalars(others.where(version.c.state == VersionState.READY).distinct()))
    for source in sources:
        if (found := publisher_of(source)) != target.publisher:
            example = f"{target.publisher.rpartition('/')[2].lower()}-{target.model}"[:64]
            raise OtherPublisher(what=f"{target.model}:{tag}", found=found, wanted=target.publisher, example=example)
    for branch in branches:
        if branch != (wanted := branch_of(target.source)):
            example = f"{target.model}-{tag.text.lower()}"[:64].rstrip("._-")
            raise OtherBranch(
                what=f"{target.model}:{tag}", found=branch, wanted=wanted, example=example, model=target.model, alias=tag
            )


def remove(connection: Connection, asking: ProjectName, target: Version, tag: Tag, *, who: str) -> None:
    """The version is not called so any more. Raises NoSuchAlias."""
    if tag not in target.aliases:
        raise NoSuchAlias(model=target.model, alias=tag, detail="")
    connection.execute(delete_from(alias).where(alias.c.model_id == target.model_id, alias.c.name == str(tag)))
    _record(connection, asking, target.model, tag, str(target.name), None, who)


def history(connection: Connection, asking: ProjectName, model: ModelName, limit: int = 100) -> list[Move]:
    """The last moves of the model's aliases, newest first."""
    rows = connection.execute(
        select(alias_move)
        .where(alias_move.c.project == str(asking), alias_move.c.model == str(model))
        .order_by(alias_move.c.id.desc())
        .limit(limit)
    )
    return [Move(row.at, row.alias, row.before, row.after, row.who) for row in rows]


def previous(connection: Connection, asking: ProjectName, model: ModelName, tag: Tag) -> Tag:
    """What the alias named before its last move. Raises NoSuchAlias if it never moved."""
    for one in history(connection, asking, model, limit=1000):
        if one.alias == str(tag):
            if one.before is None or one.after is None:
                break
            return Tag(one.before)
    raise NoSuchAlias(model=model, alias=tag, detail=" with an earlier version to return to")


def held(connection: Connection, version_ids: Collection[VersionId]) -> list[tuple[VersionId, str]]:
    """The aliases of these versions that someone set: the version, and the alias in words."""
    rows = connection.execute(select(alias.c.version_id, alias.c.name).where(alias.c.version_id.in_(version_ids), alias.c.held))
    return [(row.version_id, f"alias {row.name}") for row in rows]


def _record(
    connection: Connection, asking: ProjectName, model: ModelName, tag: Tag, before: str | None, after: str | None, who: str
) -> None:
    row = {"project": str(asking), "model": str(model), "alias": str(tag), "before": before, "after": after, "who": who}
    connection.execute(insert(alias_move).values(at=now(connection), **row))
