"""Whether an instance should run is a fact of its own; what is lost is tried again, and each try is counted.

Instances that are ready should run. The code of the earlier shapes goes on working: what it writes should not run, so nothing
of it is started again.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(  # in both dialects; Alembic cannot add a column with its constraint to a table of SQLite
        "ALTER TABLE instance ADD COLUMN desired VARCHAR(16) DEFAULT 'stopped' NOT NULL"
        " CONSTRAINT ck_instance_desired CHECK (desired IN ('running', 'stopped'))"
    )
    op.execute("UPDATE instance SET desired = 'running' WHERE state = 'ready'")
    op.add_column("instance", sa.Column("next_try", sa.Double(), nullable=True))
    for table in ("instance", "replica"):
        op.add_column(table, sa.Column("attempts", sa.Integer(), nullable=False, server_default="0"))
