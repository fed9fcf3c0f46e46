"""A version may lie in place on a registered filesystem, without an image; and SQLite never gives a version's id twice.

The code of the earlier shapes goes on working: what it writes is not in place, and the new tables are not its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_READY = "(state IN ('ready', 'retired')) = (image IS NOT NULL OR (in_place AND state IN ('ready', 'retired')))"


def upgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _rebuild()
    else:
        op.add_column("version", sa.Column("in_place", sa.Boolean(), nullable=False, server_default=sa.false()))
        op.drop_constraint(op.f("ck_version_ready_has_image"), "version", type_="check")
        op.create_check_constraint(op.f("ck_version_ready_has_image"), "version", _READY)
    op.create_index(op.f("ix_image_config"), "image", ["config"], if_not_exists=True)  # 0002 made it too, for some days
    op.create_table(
        "place",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("filesystem", sa.String(64), nullable=False),
        sa.Column("region", sa.String(64), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("facts", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["version.id"], name=op.f("fk_place_version_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_place")),
    )
    op.create_table(
        "place_file",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(71), nullable=True),
        sa.ForeignKeyConstraint(["version_id"], ["place.version_id"], name=op.f("fk_place_file_version_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("version_id", "path", name=op.f("pk_place_file")),
    )


def _rebuild() -> None:
    """SQLite changes no constraint of a table: it is made anew, filled, and takes the old one's name.

    Source: sqlite.org/lang_altertable.html, "Making Other Kinds Of Table Schema Changes"; foreign keys are off meanwhile.
    """
    columns = [
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("requested", sa.String(128), nullable=False),
        sa.Column("resolved", sa.String(128), nullable=False),
        sa.Column("format", sa.String(16), nullable=True),
        sa.Column("license", sa.Text(), nullable=True),
        sa.Column("image", sa.String(71), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("ready_at", sa.Double(), nullable=True),
        sa.Column("disabled", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("auto_cache", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("reserved", sa.BigInteger(), nullable=False, server_default="0"),
    ]
    names = ", ".join(column.name for column in columns)
    op.create_table(
        "version_new",
        *columns,
        sa.Column("in_place", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.CheckConstraint(_READY, name=op.f("ck_version_ready_has_image")),
        sa.CheckConstraint("state IN ('registered', 'importing', 'ready', 'failed', 'retired')", name=op.f("ck_version_state")),
        sa.ForeignKeyConstraint(["image"], ["image.digest"], name=op.f("fk_version_image")),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name=op.f("fk_version_model_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_version")),
        sa.UniqueConstraint("model_id", "name", name=op.f("uq_version_model_id")),
        sqlite_autoincrement=True,
    )
    op.execute(f"INSERT INTO version_new ({names}) SELECT {names} FROM version")  # noqa: S608 - our own column names
    op.drop_table("version")
    op.rename_table("version_new", "version")
    op.create_index(op.f("ix_version_image"), "version", ["image"])
    op.create_index(op.f("ix_version_model_id"), "version", ["model_id"])
