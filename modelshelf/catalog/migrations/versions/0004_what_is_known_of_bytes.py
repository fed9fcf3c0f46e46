"""What was known of a blob when it was proven, which file of a version is the model, and whose folders these are.

The code of the earlier shapes goes on working: every new column may be empty, and is by what that code writes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("blob", sa.Column("stamp", sa.Text(), nullable=True))
    op.add_column("blob", sa.Column("proven_at", sa.Double(), nullable=True))
    op.add_column("version", sa.Column("parts", sa.JSON(), nullable=True))
    for table in ("store", "node"):
        op.add_column(table, sa.Column("identity", sa.String(36), nullable=True))
        op.create_index(op.f(f"ix_{table}_identity"), table, ["identity"], unique=True)
