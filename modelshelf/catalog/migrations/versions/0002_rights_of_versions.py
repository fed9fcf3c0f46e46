"""Versions can be disabled and marked for every node, and reserve space; an alias that someone set holds its version.

Only columns with defaults: the code of the first shape goes on working on this one.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table, column in (("version", "disabled"), ("version", "auto_cache"), ("alias", "held")):
        op.add_column(table, sa.Column(column, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("version", sa.Column("reserved", sa.BigInteger(), nullable=False, server_default="0"))
