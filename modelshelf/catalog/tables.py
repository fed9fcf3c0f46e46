"""The tables. Rules live here as constraints, so that no code path can forget them.

Times are seconds since 1970 by the database's own clock.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from modelshelf.names import CATEGORIES
from modelshelf.states import (
    BlobState,
    ImageState,
    InstanceDesired,
    InstanceState,
    ReplicaDesired,
    ReplicaObserved,
    VersionState,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def _one_of(column: str, words: Iterable[str]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(str(word)) for word in words)})", name=column)


project = Table(
    "project",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
)

model = Table(
    "model",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("project.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("visibility", String(16), nullable=False),
    Column("category", String(16), nullable=False),
    UniqueConstraint("project_id", "name"),
    _one_of("visibility", ("private", "shared", "public")),
    _one_of("category", CATEGORIES),
)

model_share = Table(
    "model_share",
    metadata,
    Column("model_id", ForeignKey("model.id", ondelete="CASCADE"), primary_key=True),
    Column("project_id", ForeignKey("project.id"), primary_key=True),
)

image = Table(
    "image",
    metadata,
    Column("digest", String(71), primary_key=True),
    Column("config", String(71), nullable=False, index=True),
    Column("format", String(16), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("facts", JSON, nullable=False),
)

image_file = Table(
    "image_file",
    metadata,
    Column("image", ForeignKey("image.digest", ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("digest", String(71), nullable=False, index=True),
    Column("size", BigInteger, nullable=False),
)

version = Table(
    "version",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("model_id", ForeignKey("model.id"), nullable=False, index=True),
    Column("name", String(128), nullable=False),
    Column("source", Text, nullable=False),
    Column("requested", String(128), nullable=False, default=""),  # read by nobody
    Column("resolved", String(128), nullable=False),
    Column("format", String(16)),
    Column("license", Text),
    Column("image", ForeignKey("image.digest"), index=True),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("created_at", Double, nullable=False),
    Column("ready_at", Double),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    Column("auto_cache", Boolean, nullable=False, server_default=false()),
    Column("reserved", BigInteger, nullable=False, server_default="0"),
    Column("in_place", Boolean, nullable=False, server_default=false()),
    Column("parts", JSON(none_as_null=True)),
    UniqueConstraint("model_id", "name"),
    _one_of("state", (*VersionState, "retired")),  # which none ever was
    CheckConstraint(
        "(state IN ('ready', 'retired')) = (image IS NOT NULL OR (in_place AND state IN ('ready', 'retired')))",
        name="ready_has_image",
    ),
    sqlite_autoincrement=True,  # an id is never given twice: plans and leases name versions by it
)

place = Table(
    "place",
    metadata,
    Column("version_id", ForeignKey("version.id", ondelete="CASCADE"), primary_key=True),
    Column("filesystem", String(64), nullable=False),
    Column("region", String(64), nullable=False),
    Column("folder", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("facts", JSON, nullable=False),
)

place_file = Table(
    "place_file",
    metadata,
    Column("version_id", ForeignKey("place.version_id", ondelete="CASCADE"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("role", String(16), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("changed", BigInteger, nullable=False),
    Column("digest", String(71)),
)

alias = Table(
    "alias",
    metadata,
    Column("model_id", ForeignKey("model.id"), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("version_id", ForeignKey("version.id"), nullable=False, index=True),
    Column("held", Boolean, nullable=False, server_default=false()),
)

alias_move = Table(
    "alias_move",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False),
    Column("project", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("alias", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Column("who", Text, nullable=False),
)

store = Table(
    "store",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("region", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("block", Text),
    Column("identity", String(36), index=True, unique=True),  # as its folder's marker says
    Column("host", Text),  # the machine that it is a folder of, hashed
    Column("folder", Text),
)

image_at = Table(
    "image_at",
    metadata,
    Column("store_id", ForeignKey("store.id"), primary_key=True),
    Column("image", ForeignKey("image.digest", ondelete="CASCADE"), primary_key=True, index=True),
    Column("state", String(16), nullable=False),
    _one_of("state", ImageState),
)

blob = Table(
    "blob",
    metadata,
    Column("store_id", ForeignKey("store.id"), primary_key=True),
    Column("digest", String(71), primary_key=True),
    Column("size", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("stamp", Text),  # what its store saw of it when it was proven: equal means untouched since
    Column("proven_at", Double),
    _one_of("state", BlobState),
)

hold = Table(
    "hold",
    metadata,
    Column("version_id", ForeignKey("version.id", ondelete="CASCADE"), primary_key=True),
    Column("store_id", Integer, primary_key=True),
    Column("digest", String(71), primary_key=True),
    ForeignKeyConstraint(["store_id", "digest"], ["blob.store_id", "blob.digest"], name="fk_hold_blob"),
    Index("ix_hold_blob", "store_id", "digest"),
)

node = Table(
    "node",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False, unique=True),
    Column("region", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("block", Text),
    Column("labels", JSON, nullable=False),
    Column("budget", BigInteger),
    Column("identity", String(36), index=True, unique=True),  # as its folder's marker says
)

replica = Table(
    "replica",
    metadata,
    Column("node_id", ForeignKey("node.id"), primary_key=True),
    Column("version_id", ForeignKey("version.id"), primary_key=True),
    Column("desired", String(16), nullable=False),
    Column("observed", String(16), nullable=False),
    Column("verified_at", Double),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False, server_default="0"),  # to fill it again since it was last seen present
    Column("next_try", Double),
    Column("last_use", Double),
    Column("pinned", Boolean, nullable=False),
    _one_of("desired", ReplicaDesired),
    _one_of("observed", ReplicaObserved),
    Index("ix_replica_version_id", "version_id"),
)

template = Table(
    "template",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("project.id"), nullable=False),
    Column("name", String(64), nullable=False),
    UniqueConstraint("project_id", "name"),
)

template_revision = Table(
    "template_revision",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("template_id", ForeignKey("template.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("engine", String(16), nullable=False),
    Column("settings", JSON, nullable=False),
    UniqueConstraint("template_id", "number"),
)

template_model = Table(
    "template_model",
    metadata,
    Column("revision_id", ForeignKey("template_revision.id"), primary_key=True),
    Column("version_id", ForeignKey("version.id"), primary_key=True),
    Column("served_name", Text, nullable=False),
    Index("ix_template_model_version_id", "version_id"),
)

instance = Table(
    "instance",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("project_id", ForeignKey("project.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("revision_id", ForeignKey("template_revision.id"), nullable=False),
    Column("node_id", ForeignKey("node.id"), nullable=False),
    Column("state", String(16), nullable=False),
    Column("reason", Text),
    Column("label", String(32), nullable=False),
    Column("bind", Text, nullable=False),
    Column("port", Integer, nullable=False),
    Column("process", JSON),
    Column("command", JSON),
    Column("notes", JSON, nullable=False),
    Column("stages", JSON),
    Column("created_at", Double, nullable=False),
    Column("ready_at", Double),
    Column("desired", String(16), nullable=False, server_default="stopped"),
    Column("attempts", Integer, nullable=False, server_default="0"),  # to start it again since it last ran steadily
    Column("next_try", Double),
    UniqueConstraint("project_id", "name"),
    _one_of("state", InstanceState),
    _one_of("desired", InstanceDesired),
)

mount = Table(
    "mount",
    metadata,
    Column("instance_id", ForeignKey("instance.id", ondelete="CASCADE"), primary_key=True),
    Column("version_id", ForeignKey("version.id"), primary_key=True),
    Column("desired", String(16), nullable=False, default="mounted"),  # these three are read by nobody
    Column("observed", String(16), nullable=False, default="unknown"),
    Column("verified_at", Double),
    _one_of("desired", ("mounted", "absent")),
    _one_of("observed", ("mounted", "absent", "unknown")),
    Index("ix_mount_version_id", "version_id"),
)

lease = Table(
    "lease",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("holder", String(32), nullable=False),
    Column("says", Text, nullable=False),
    Column("expires", Double, nullable=False),
)

plan = Table(
    "plan",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("at", Double, nullable=False),
    Column("content", JSON, nullable=False),
)

progress = Table(
    "progress",
    metadata,
    Column("run", String(64), primary_key=True),
    Column("at", Double, nullable=False),
    Column("stage", Text, nullable=False),
    Column("done", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
)

event = Table(
    "event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", Double, nullable=False, index=True),
    Column("project", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", Text),
)
