"""What people do with conversations: read marks and branches of threads, and runs that are tried again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("threads", sa.Column("read_seq", _INT, nullable=False, server_default="0"))
    # What was there before there were marks counts as read.
    op.execute("UPDATE threads SET read_seq = head_seq")
    op.add_column("threads", sa.Column("branched_from", sa.Text(), nullable=True))
    op.add_column("threads", sa.Column("branched_at", sa.Text(), nullable=True))
    is_branch = sa.text("branched_from IS NOT NULL")
    op.create_index(
        "threads_by_branch",
        "threads",
        ["tenant_id", "user_id", "branched_from"],
        sqlite_where=is_branch,
        postgresql_where=is_branch,
    )
    op.add_column("runs", sa.Column("retry_of", sa.Text(), nullable=True))
