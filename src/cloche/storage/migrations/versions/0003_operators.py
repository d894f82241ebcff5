"""For operators: a tenant's runs by id, agent and end, those that did not end well, and what the doctor found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _index_where(name: str, table: str, columns: list[str], condition: str) -> None:
    place = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=place, postgresql_where=place)


def upgrade() -> None:
    op.create_index("runs_by_id", "runs", ["tenant_id", "id"])
    op.create_index("runs_by_agent", "runs", ["tenant_id", "agent", "created_at", "id"])
    _index_where("runs_ended", "runs", ["tenant_id", "ended_at", "state"], "ended_at IS NOT NULL")
    _index_where(
        "runs_not_well",
        "runs",
        ["tenant_id", "created_at", "id"],
        "state IN ('cancelled', 'dead', 'failed', 'timeout')",
    )
    op.create_index("usage_of_tenant", "usage_entries", ["tenant_id", "created_at"])
    op.create_index("audit_by_time", "audit", ["tenant_id", "created_at", "id"])
    op.create_table(
        "checkups",
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("tenant_id", "id", "user_id")),
        *(sa.Column(name, _INT, nullable=False) for name in ("is_ok", "users", "created_at")),
        sa.Column("checks", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "id"),
        sqlite_with_rowid=False,
    )
