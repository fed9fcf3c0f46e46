"""Which store holds which image whole, and where a store's folder is: several machines keep one library.

Until now there was one store, and it held every image that the catalog listed. The code of the earlier shapes does not record
where it stores an image, so it must not run beside this one; `modelshelf up` refuses it, as it does any newer catalog.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "image_at",
        sa.Column("store_id", sa.Integer(), nullable=False),
        sa.Column("image", sa.String(71), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.CheckConstraint("state IN ('copying', 'present')", name=op.f("ck_image_at_state")),
        sa.ForeignKeyConstraint(["store_id"], ["store.id"], name=op.f("fk_image_at_store_id")),
        sa.ForeignKeyConstraint(["image"], ["image.digest"], name=op.f("fk_image_at_image"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("store_id", "image", name=op.f("pk_image_at")),
    )
    op.create_index(op.f("ix_image_at_image"), "image_at", ["image"])
    op.execute("INSERT INTO image_at (store_id, image, state) SELECT store.id, image.digest, 'present' FROM store, image")
    op.add_column("store", sa.Column("host", sa.Text(), nullable=True))
    op.add_column("store", sa.Column("folder", sa.Text(), nullable=True))
