"""Models, versions and aliases: reserved, imported, published, found, deleted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Row, Select, delete, func, insert, or_, select, union, update
from sqlalchemy.engine import Connection

from modelshelf.catalog import aliases, blobs, holdings, images, journal, projects
from modelshelf.catalog.database import now
from modelshelf.catalog.ids import ModelId, NodeId, StoreId, VersionId
from modelshelf.catalog.journal import EventKind
from modelshelf.catalog.leases import Lease, LeaseName, being_imported, import_lease
from modelshelf.catalog.projects import visible_to
from modelshelf.catalog.tables import (
    alias,
    hold,
    image,
    image_file,
    instance,
    model,
    place,
    project,
    replica,
    template_model,
    version,
)
from modelshelf.digest import Blob, Digest
from modelshelf.errors import Disabled, InPlace, NameTaken, NoSuchModel, NotReady, TagAndDigestDisagree, WhichVersion
from modelshelf.formats.image import Image, PackedFile
from modelshelf.formats.kinds import Facts, Format, Role
from modelshelf.formats.parts import Parts
from modelshelf.names import FilePath, ModelName, ModelRef, ProjectName, Tag
from modelshelf.publishers import publisher_of
from modelshelf.states import VersionState

_ROWS_AT_ONCE = 10_000
_CALLED = (
    select(func.aggregate_strings(alias.c.name, " "))
    .where(alias.c.version_id == version.c.id)
    .correlate(version)
    .scalar_subquery()
    .label("called")
)
"""The aliases of a version in one text: none of them has a blank."""

Order = Literal["newest", "name", "size"]
"""How a list of versions is sorted: the newest first, by name, or the largest first."""
_ORDERS: dict[Order, tuple[Any, ...]] = {
    "newest": (),
    "name": (project.c.name, model.c.name),
    "size": (func.coalesce(image.c.size, place.c.size, 0).desc(),),
}


@dataclass(frozen=True, slots=True)
class Version:
    """One version as its row says it. `size` in bytes, None until it is ready; times in seconds since 1970."""

    id: VersionId
    model_id: ModelId
    project: ProjectName
    model: ModelName
    name: Tag
    category: str
    visibility: str
    source: str
    resolved: str
    state: VersionState
    reason: str | None
    format: Format | None
    license: str | None
    image: Digest | None
    size: int | None
    facts: Facts
    created_at: float
    ready_at: float | None
    disabled: bool
    """It cannot be launched anew or put into a template."""
    auto_cache: bool
    """It is brought to every node without being asked for."""
    filesystem: str | None
    """The filesystem that it lies on in place, in the filesystem's `region`; None if its image is in the store."""
    region: str | None
    parts: Parts | None = None
    """None for versions of before this was decided at import."""
    aliases: tuple[Tag, ...] = ()

    @property
    def in_place(self) -> bool:
        return self.filesystem is not None

    @property
    def ref(self) -> ModelRef:
        return ModelRef.of_version(self.project, self.model, self.name)

    @property
    def publisher(self) -> str:
        """Who published it, as its source tells: `hf://org`, `ollama://library`, `local`."""
        return publisher_of(self.source)

    @property
    def lease(self) -> LeaseName:
        """The name of the lease under which it is imported."""
        return import_lease(self.id)


def reserve(
    connection: Connection,
    asking: ProjectName,
    model_name: ModelName,
    name: Tag,
    *,
    source: str,
    resolved: str,
    category: str,
    tag: Tag | None = None,
) -> Version:
    """Return the version of that name and pin, new or from before.

    Raises NameTaken if the name has another pin, and OtherPublisher or OtherBranch if `tag`, the alias that the import will
    set, is another's.
    """
    found = connection.execute(
        select(project.c.id.label("owner"), model.c.id.label("model_id"), version.c.id, version.c.resolved)
        .outerjoin(model, (model.c.project_id == project.c.id) & (model.c.name == str(model_name)))
        .outerjoin(version, (version.c.model_id == model.c.id) & (version.c.name == str(name)))
        .where(project.c.name == str(asking))
    ).one_or_none()
    if found is not None and found.id is not None and found.resolved != resolved:
        raise NameTaken(what=f"{model_name}:{name}", found=found.resolved[:16], wanted=resolved[:16])
    model_id = found.model_id if found is not None else None
    is_new = model_id is None
    if model_id is None:
        owner = found.owner if found is not None else projects.make(connection, asking)
        row = insert(model).values(project_id=owner, name=str(model_name), visibility="private", category=category)
        model_id = connection.execute(row.returning(model.c.id)).scalar_one()
    version_id = found.id if found is not None else None
    if version_id is None:
        values = {"model_id": model_id, "name": str(name), "source": source, "resolved": resolved}
        new = insert(version).values(**values, state=VersionState.REGISTERED, created_at=now(connection))
        version_id = connection.execute(new.returning(version.c.id)).scalar_one()
    reserved = get(connection, asking, version_id)
    if tag is not None and not is_new:
        aliases.require_publisher(connection, reserved, tag)
    return reserved


def set_state(connection: Connection, version_id: VersionId, state: VersionState, reason: str | None = None) -> None:
    """It is importing, or failed with a reason; a version that is ready stays so."""
    _set_unfinished(connection, version_id, state=state, reason=reason)


def begin_import(connection: Connection, version_id: VersionId, size: int) -> None:
    """Record that an import is about to write `size` bytes; other imports count on that space no more."""
    _set_unfinished(connection, version_id, state=VersionState.IMPORTING, reason=None, reserved=size)


def _set_unfinished(connection: Connection, version_id: VersionId, **values: object) -> None:
    unfinished = version.c.state.in_((VersionState.REGISTERED, VersionState.IMPORTING, VersionState.FAILED))
    connection.execute(update(version).where(version.c.id == version_id, unfinished).values(values))


def reserved_by_others(connection: Connection, version_id: VersionId) -> int:
    """Bytes that imports of other versions, which run now, said they would write."""
    running = (
        select(func.coalesce(func.sum(version.c.reserved), 0))
        .where(version.c.id != version_id, version.c.state == VersionState.IMPORTING)
        .where(being_imported(connection, version.c.id))
    )
    return int(connection.execute(running).scalar_one())


def publish(
    connection: Connection, asking: ProjectName, target: Version, packed: Image, *, lease: Lease, store_id: StoreId,
    license: str | None, tag: Tag, who: str, parts: Parts | None = None, made: Collection[Blob] = (),
) -> Version:  # fmt: skip
    """The version is ready and listed, its alias points to it: in this one transaction, under a lease that still holds.

    `made` are blobs of the image that were written just now, with their stamps. Raises LeaseLost, NameTaken or OtherPublisher,
    and then nothing of it is visible.
    """
    lease.renew(connection)
    blobs.record(connection, store_id, {one.digest: one for one in (*packed.blobs, *made)}.values())
    images.record(connection, packed)
    here = (version.c.id == target.id) & (version.c.state != VersionState.READY)
    same = or_(version.c.image.is_(None), version.c.image == str(packed.digest))
    published = connection.execute(
        update(version).where(here, same).values(
            state=VersionState.READY, reason=None, image=str(packed.digest), format=packed.format, license=license,
            parts=parts.to_json() if parts else None, ready_at=now(connection),
        )
    )  # fmt: skip
    if published.rowcount == 1:
        journal.record_event(connection, asking, who, EventKind.VERSION_READY, str(target.ref), str(packed.digest))
    elif (there := get(connection, asking, target.id)).image != packed.digest:
        raise NameTaken(what=there.ref, found=there.image, wanted=packed.digest)
    holdings.mark_present(connection, store_id, packed.digest)
    aliases.move_by_import(connection, asking, target, tag, who=who)
    blobs.release_holds(connection, target.id)
    return get(connection, asking, target.id)


def get(connection: Connection, asking: ProjectName, version_id: VersionId) -> Version:
    """The version of that id, if the project may see it."""
    row = connection.execute(_versions(asking).add_columns(_CALLED).where(version.c.id == version_id)).one_or_none()
    if row is None:
        raise NoSuchModel(what=f"version number {version_id}", project=asking)
    return _version(row)


def get_each(connection: Connection, asking: ProjectName, version_ids: Collection[VersionId]) -> list[Version]:
    """The versions of these ids in their order, if the project may see them all."""
    rows = connection.execute(_versions(asking).add_columns(_CALLED).where(version.c.id.in_(version_ids)))
    found = {row.id: _version(row) for row in rows}
    if missing := set(version_ids) - found.keys():
        raise NoSuchModel(what=f"version number {min(missing)}", project=asking)
    return [found[version_id] for version_id in version_ids]


def find(connection: Connection, asking: ProjectName, ref: ModelRef) -> Version:
    """The version that a person's reference names: by name, by alias, by image, or the only one there is."""
    owner = ref.project or asking
    query = _versions(asking).add_columns(_CALLED).where(project.c.name == str(owner), model.c.name == str(ref.model))
    if ref.tag is None and ref.image is None:
        return _the_only(connection, asking, ref, query)
    if ref.tag is not None:
        named = select(alias.c.version_id).where(alias.c.model_id == model.c.id, alias.c.name == str(ref.tag))
        rows = connection.execute(query.where((version.c.name == str(ref.tag)) | version.c.id.in_(named))).all()
        rows = sorted(rows, key=lambda row: row.name != str(ref.tag))
        if rows and ref.image is not None and rows[0].image != str(ref.image):
            raise TagAndDigestDisagree(reference=ref, found=rows[0].image or "not ready")
    else:
        rows = list(connection.execute(query.where(version.c.image == str(ref.image)).limit(1)).all())
    if not rows:
        raise NoSuchModel(what=ref, project=asking)
    return _version(rows[0])


def _the_only(connection: Connection, asking: ProjectName, ref: ModelRef, query: Select[tuple[object, ...]]) -> Version:
    rows = connection.execute(query.limit(50)).all()
    if not rows:
        raise NoSuchModel(what=ref, project=asking)
    found = [_version(row) for row in rows]
    latest = [one for one in found if Tag("latest") in one.aliases]
    ready = [one for one in found if one.state == VersionState.READY]
    for candidates in (latest, ready, found):
        if len(candidates) == 1:
            return candidates[0]
    choices = ready or found  # what failed is no choice
    raise WhichVersion(model=ref.model, choices=", ".join(str(one.aliases[0] if one.aliases else one.name) for one in choices))


def by_pin(connection: Connection, asking: ProjectName, pins: Collection[str]) -> dict[str, ModelRef]:
    """Return the ready versions that the project may see with one of these pins, by pin; the newest of several."""
    query = _versions(asking).where(version.c.resolved.in_(pins), version.c.state == VersionState.READY).order_by(version.c.id)
    found = [_version(row, ()) for row in connection.execute(query)]
    return {one.resolved: one.ref for one in found}


def require_ready(target: Version) -> Version:
    if target.state == VersionState.READY:
        return target
    advice = {
        VersionState.IMPORTING: "`modelshelf runs` shows its run; if there is none, import again: the import resumes where it"
        " stopped.",
        VersionState.FAILED: "Import again: downloaded files are kept.",
    }.get(target.state, "Import it first.")
    reason = f" ({target.reason})" if target.reason else ""
    raise NotReady(what=target.ref, state=target.state, reason=reason, advice=advice)


def require_selectable(target: Version, already: frozenset[VersionId] = frozenset()) -> Version:
    """Ready, and not disabled unless it is among the versions that are in use `already`."""
    if target.disabled and target.id not in already:
        raise Disabled(what=target.ref)
    return require_ready(target)


def require_image(target: Version, reason: str) -> Version:
    """Its image is in the store. Raises InPlace, with the reason why that matters, for one that lies on a filesystem."""
    if target.in_place:
        raise InPlace(what=target.ref, filesystem=target.filesystem, reason=reason)
    return target


def mark(connection: Connection, asking: ProjectName, target: Version, who: str, **marks: bool) -> None:
    """Set `disabled` or `auto_cache`."""
    connection.execute(update(version).where(version.c.id == target.id).values(**marks))
    said = ", ".join(f"{name}: {'yes' if value else 'no'}" for name, value in marks.items())
    journal.record_event(connection, asking, who, EventKind.VERSION_MARKED, str(target.ref), said)


def page(
    connection: Connection, asking: ProjectName, *, limit: int = 100, category: str | None = None,
    format: Format | None = None, state: str | None = None, source: str | None = None, matching: str | None = None,
    order: Order = "newest",
) -> list[Version]:  # fmt: skip
    """Return up to `limit` versions that the project may see and that match every filter.

    The state `disabled` stands for ready versions that are disabled, `ready` for the others. `source` and `matching` are parts
    of the source's written form and of the model's name.
    """
    query = _versions(asking).order_by(*_ORDERS[order], version.c.id.desc()).limit(limit)
    if category is not None:
        query = query.where(model.c.category == category)
    if format is not None:
        query = query.where(version.c.format == format)
    if state is not None:
        plain = VersionState.READY if state == "disabled" else state
        query = query.where(version.c.state == plain, version.c.disabled == (state == "disabled"))
    if source is not None:
        query = query.where(version.c.source.contains(source, autoescape=True))
    if matching is not None:
        query = query.where(model.c.name.contains(matching, autoescape=True))
    return _with_aliases(connection, connection.execute(query).all())


def of_model(connection: Connection, asking: ProjectName, name: ModelName) -> list[Version]:
    """Every version of one of the project's own models, newest first."""
    query = _versions(asking).where(project.c.name == str(asking), model.c.name == str(name)).order_by(version.c.id.desc())
    return _with_aliases(connection, connection.execute(query).all())


def reopen(connection: Connection, asking: ProjectName, target: Version, reason: str, who: str) -> None:
    """A ready version whose bytes are gone can be imported again; until then it is not selectable."""
    connection.execute(
        update(version)
        .where(version.c.id == target.id)
        .values(state=VersionState.FAILED, image=None, in_place=False, ready_at=None, reason=reason)
    )
    journal.record_event(connection, asking, who, EventKind.VERSION_DAMAGED, str(target.ref), reason)


def files(connection: Connection, asking: ProjectName, version_id: VersionId) -> tuple[PackedFile, ...]:
    """What a ready version consists of, in the order of the paths."""
    rows = connection.execute(
        select(image_file.c.path, image_file.c.role, image_file.c.digest, image_file.c.size)
        .join(version, version.c.image == image_file.c.image)
        .join(model, version.c.model_id == model.c.id)
        .where(version.c.id == version_id, version.c.state == VersionState.READY, visible_to(asking))
        .order_by(image_file.c.path)
    ).all()
    if not rows:  # in place, or not to be had
        require_ready(get(connection, asking, version_id))
    return tuple(sorted(PackedFile(FilePath(r.path), Role(r.role), Digest.parse(r.digest), r.size) for r in rows))


def count_by_state(connection: Connection) -> dict[VersionState, int]:
    """How many versions there are in each state, of every project: numbers, no names."""
    rows = connection.execute(select(version.c.state, func.count().label("many")).group_by(version.c.state))
    return {VersionState(row.state): row.many for row in rows}


def to_cache_everywhere(connection: Connection) -> list[Version]:
    """The ready versions, of every project, that are marked for every node: for the nodes' own upkeep."""
    marked = _every().where(
        version.c.auto_cache, version.c.state == VersionState.READY, version.c.image.is_not(None), ~version.c.disabled
    )
    return _all(connection, marked)


def in_place(connection: Connection) -> list[Version]:
    """The ready versions, of every project, that lie in place: for audits, shown to nobody."""
    return _all(connection, _every().where(version.c.in_place, version.c.state == VersionState.READY))


def on_node(connection: Connection, node_id: NodeId) -> list[Version]:
    """The versions, of every project, that have a replica row on the node: for the node's own upkeep."""
    return _all(connection, _every().where(version.c.id.in_(select(replica.c.version_id).where(replica.c.node_id == node_id))))


def served_but_not_ready(connection: Connection, node_id: NodeId) -> dict[VersionId, Version]:
    """The versions that instances of the node serve and that are not ready any more, by id."""
    served = (
        select(template_model.c.version_id)
        .join(instance, instance.c.revision_id == template_model.c.revision_id)
        .where(instance.c.node_id == node_id)
    )
    query = _every().where(version.c.state != VersionState.READY, version.c.id.in_(served))
    return {one.id: one for one in _all(connection, query)}


def _all(connection: Connection, query: Select[tuple[object, ...]]) -> list[Version]:
    return [_version(row) for row in connection.execute(query.add_columns(_CALLED).order_by(version.c.id))]


def same_content(connection: Connection, asking: ProjectName, target: Version) -> list[Version]:
    """Other versions that the project may see and that share its image: the same content under another name."""
    query = _versions(asking).where(version.c.image == str(target.image), version.c.id != target.id).limit(20)
    return _with_aliases(connection, connection.execute(query).all())


def blob_sizes(connection: Connection, store_id: StoreId, target: Version) -> dict[Digest, int]:
    """Every blob that the version refers to or holds in the store, files, config and manifest, with its size in bytes."""
    named = select(image_file.c.digest).where(image_file.c.image == str(target.image))
    own = select(image.c.config).where(image.c.digest == str(target.image))
    held = select(hold.c.digest).where(hold.c.version_id == target.id)
    of_it = {row[0] for row in connection.execute(union(named, own, held))} | {str(target.image)}
    return blobs.sizes(connection, store_id, of_it)


def remove(connection: Connection, asking: ProjectName, target: Version, who: str) -> None:
    """The row and its aliases are gone. The caller has asked, in this transaction, that nothing holds it."""
    connection.execute(delete(alias).where(alias.c.version_id == target.id))
    blobs.release_holds(connection, target.id)
    connection.execute(delete(version).where(version.c.id == target.id))
    if connection.execute(select(func.count()).where(version.c.model_id == target.model_id)).scalar_one() == 0:
        connection.execute(delete(model).where(model.c.id == target.model_id))
    used = select(func.count()).where(version.c.image == str(target.image))
    if target.image is not None and connection.execute(used).scalar_one() == 0:
        connection.execute(delete(image_file).where(image_file.c.image == str(target.image)))
        connection.execute(delete(image).where(image.c.digest == str(target.image)))
    journal.record_event(connection, asking, who, EventKind.VERSION_DELETED, str(target.ref), str(target.image))


def _versions(asking: ProjectName) -> Select[tuple[object, ...]]:
    return _every().where(visible_to(asking))


def _every() -> Select[tuple[object, ...]]:
    """Of every project: for upkeep, shown to nobody."""
    return select(
        version,
        model.c.name.label("model_name"),
        model.c.category,
        model.c.visibility,
        project.c.name.label("project_name"),
        func.coalesce(image.c.size, place.c.size).label("size"),
        image.c.facts,
        place.c.facts.label("place_facts"),
        place.c.filesystem,
        place.c.region,
    ).select_from(
        version.join(model)
        .join(project)
        .outerjoin(image, version.c.image == image.c.digest)
        .outerjoin(place, version.c.in_place & (place.c.version_id == version.c.id))
    )


def _with_aliases(connection: Connection, rows: Sequence[Row[tuple[object, ...]]]) -> list[Version]:
    named = select(alias.c.version_id, alias.c.name).where(alias.c.version_id.in_([row.id for row in rows]))
    called: dict[VersionId, list[Tag]] = {}
    for found in connection.execute(named.order_by(alias.c.name)) if rows else ():
        called.setdefault(found.version_id, []).append(Tag(found.name))
    return [_version(row, called.get(row.id, ())) for row in rows]


def _version(row: Row[tuple[object, ...]], called: Iterable[Tag] | None = None) -> Version:
    """The version of a row; its aliases are in the row, as `_CALLED` has them, unless they are given."""
    if called is None:
        called = [Tag(name) for name in sorted((row.called or "").split())]
    return Version(
        id=row.id,
        model_id=row.model_id,
        project=ProjectName(row.project_name),
        model=ModelName(row.model_name),
        name=Tag(row.name),
        category=row.category,
        visibility=row.visibility,
        source=row.source,
        resolved=row.resolved,
        state=VersionState(row.state),
        reason=row.reason,
        format=Format(row.format) if row.format else None,
        license=row.license,
        image=Digest.parse(row.image) if row.image else None,
        size=row.size,
        facts=Facts(**(row.facts or row.place_facts or {})),
        created_at=row.created_at,
        ready_at=row.ready_at,
        disabled=row.disabled,
        auto_cache=row.auto_cache,
        filesystem=row.filesystem,
        region=row.region,
        parts=Parts.from_json(row.parts) if row.parts else None,
        aliases=tuple(called),
    )
