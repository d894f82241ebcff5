"""What operators look for: runs of a whole tenant by id, by agent, by their end, and those that did not end well."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


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
