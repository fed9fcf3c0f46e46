"""Images: what a content consists of, recorded once however many versions have it."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass
from itertools import groupby

from sqlalchemy import case, delete, exists, func, insert, or_, select, union
from sqlalchemy.engine import Connection

from modelshelf.catalog.database import insert_into
from modelshelf.catalog.ids import NodeId, StoreId, VersionId
from modelshelf.catalog.tables import blob, hold, image, image_file, model, project, replica, version
from modelshelf.digest import Digest
from modelshelf.formats.image import Image, PackedFile
from modelshelf.formats.kinds import Role
from modelshelf.names import FilePath, ProjectName

_ROWS_AT_ONCE = 10_000


def record(connection: Connection, packed: Image) -> None:
    """The image is recorded with its files."""
    named = str(packed.digest)  # a hash of the whole manifest: once, not once a file
    row = insert_into(connection, image).values(
        digest=named,
        config=str(Digest.of(packed.config)),
        format=packed.format,
        size=packed.size,
        facts=asdict(packed.facts),
    )
    if connection.execute(row.on_conflict_do_nothing().returning(image.c.digest)).first() is None:
        return
    rows = [{"image": named, "path": str(f.path), "role": f.role, "digest": str(f.digest), "size": f.size} for f in packed.files]
    connection.execute(insert(image_file), rows)


def digests(connection: Connection, image_digest: Digest) -> set[Digest]:
    """The digests of the image's files."""
    rows = connection.execute(select(image_file.c.digest).where(image_file.c.image == str(image_digest)))
    return {Digest.parse(row.digest) for row in rows}


def whole(connection: Connection, image_digest: Digest) -> set[Digest]:
    """Return the digests of everything that makes the image: its files, its config and its manifest."""
    return {*digests(connection, image_digest), config_of(connection, image_digest), image_digest}


def config_of(connection: Connection, named: Digest) -> Digest:
    """Return the digest of the image's config."""
    return Digest.parse(connection.execute(select(image.c.config).where(image.c.digest == str(named))).scalar_one())


def in_use(connection: Connection) -> Iterator[tuple[Digest, set[tuple[str, int]]]]:
    """Each image that a version has, with the digests and sizes of its files, read as it is asked for.

    For audits, shown to nobody.
    """
    used = select(version.c.image).where(version.c.image.is_not(None))
    rows = connection.execute(
        select(image_file.c.image, image_file.c.digest, image_file.c.size)
        .where(image_file.c.image.in_(used))
        .order_by(image_file.c.image),
        execution_options={"yield_per": _ROWS_AT_ONCE},
    )
    for named, its in groupby(rows, key=lambda row: row[0]):
        yield Digest.parse(named), {(digest, size) for _, digest, size in its}


def needing(connection: Connection, digest: Digest) -> list[tuple[ProjectName, VersionId]]:
    """The versions, and who owns them, that cannot do without the blob: a file, a config or a manifest of theirs."""
    named = str(digest)
    with_it = select(image_file.c.image).where(image_file.c.digest == named)
    own = select(image.c.digest).where(or_(image.c.digest == named, image.c.config == named))
    rows = connection.execute(
        select(version.c.id, project.c.name)
        .join(model, version.c.model_id == model.c.id)
        .join(project, model.c.project_id == project.c.id)
        .where(or_(version.c.image.in_(with_it), version.c.image.in_(own)))
    )
    return [(ProjectName(row.name), row.id) for row in rows]


def forget_unused(connection: Connection) -> None:
    """Images that no version has any more are not listed; their blobs are nobody's."""
    used = select(version.c.image).where(version.c.image.is_not(None))
    connection.execute(delete(image_file).where(image_file.c.image.not_in(used)))
    connection.execute(delete(image).where(image.c.digest.not_in(used)))


def on_node(connection: Connection, node_id: NodeId) -> Iterator[tuple[Digest, tuple[PackedFile, ...]]]:
    """Each image of which the node has, or should have, a replica, with its files; read as it is asked for."""
    wanted = select(version.c.image).join(replica, replica.c.version_id == version.c.id)
    rows = connection.execute(
        select(image_file)
        .where(image_file.c.image.in_(wanted.where(replica.c.node_id == node_id, version.c.image.is_not(None))))
        .order_by(image_file.c.image),
        execution_options={"yield_per": _ROWS_AT_ONCE},
    )
    for named, its in groupby(rows, key=lambda row: row.image):
        files = (PackedFile(FilePath(row.path), Role(row.role), Digest.parse(row.digest), row.size) for row in its)
        yield Digest.parse(named), tuple(sorted(files))


@dataclass(frozen=True, slots=True)
class Share:
    """Bytes in a store of one version's files, config, manifest and what its import holds; `alone`: of no other version."""

    size: int
    alone: int


def shares(connection: Connection, store_id: StoreId, version_ids: Collection[VersionId]) -> dict[VersionId, Share]:
    """What each of these versions takes in the store; nothing of one that has no blobs there."""
    mine = select(version.c.id, image.c.digest.label("image")).join(image, version.c.image == image.c.digest)
    of_image = mine.where(version.c.id.in_(version_ids)).subquery()
    config = select(image.c.config).where(image.c.digest == of_image.c.image).scalar_subquery()
    referred = union(
        select(of_image.c.id, image_file.c.digest).join(image_file, image_file.c.image == of_image.c.image),
        select(of_image.c.id, of_image.c.image),
        select(of_image.c.id, config),
        select(hold.c.version_id, hold.c.digest).where(hold.c.store_id == store_id, hold.c.version_id.in_(version_ids)),
    ).subquery()
    one, digest = referred.c
    other = version.c.id != one
    shared = or_(
        exists(
            select(version.c.id)
            .join(image_file, image_file.c.image == version.c.image)
            .where(image_file.c.digest == digest, other)
        ),
        exists(select(version.c.id).where(version.c.image == digest, other)),
        exists(select(version.c.id).join(image, version.c.image == image.c.digest).where(image.c.config == digest, other)),
    )
    rows = connection.execute(
        select(one.label("version_id"), func.sum(blob.c.size).label("size"))
        .add_columns(func.sum(case((shared, 0), else_=blob.c.size)).label("alone"))
        .join(blob, (blob.c.digest == digest) & (blob.c.store_id == store_id))
        .group_by(one)
    )
    return {row.version_id: Share(int(row.size), int(row.alone)) for row in rows}
