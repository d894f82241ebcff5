"""What the planner of SQLite is told of the tables' shapes, so that it takes the same index on every machine.

Without figures it takes a personal table's primary key wherever the tenant and the user are named, and reads everything
that the user ever had. The figures are of a busy server; they are set once, and never measured.

Source: https://www.sqlite.org/optoverview.html#manual_control_of_query_plans_using_sqlite_stat_tables
"""

from __future__ import annotations

# For each index: its rows, then how many rows share the same value of its first column, of its first two, and so on.
_SHAPES: dict[tuple[str, str], str] = {
    ("threads", "threads"): "200000 20000 200 1",
    ("threads", "threads_by_update"): "200000 20000 200 1 1",
    ("messages", "sqlite_autoindex_messages_1"): "4000000 400000 4000 1",
    ("messages", "messages_by_seq"): "4000000 400000 4000 20 1",
    ("messages", "messages_by_client_id"): "2000000 200000 2000 10 1",
    ("events", "sqlite_autoindex_events_1"): "20000000 2000000 100 1",
    ("runs", "sqlite_autoindex_runs_1"): "2000000 200000 2000 1",
    ("runs", "runs_by_thread"): "2000000 200000 2000 10 1",
    ("runs", "runs_by_time"): "2000000 200000 1 1",
    ("runs", "runs_live"): "200 20 2 1 1",
    ("runs", "runs_by_id"): "2000000 200000 1",
    ("runs", "runs_by_agent"): "2000000 200000 20000 1 1",
    ("runs", "runs_ended"): "2000000 200000 1 1",
    ("runs", "runs_not_well"): "100000 10000 1 1",
    ("executions", "sqlite_autoindex_executions_1"): "2000000 200000 2000 1 1",
    ("steps", "sqlite_autoindex_steps_1"): "8000000 800000 8000 4 1",
    ("approvals", "approvals"): "20000 2000 20 1",
    ("approvals", "approvals_by_call"): "20000 2000 20 1 1",
    ("approvals", "approvals_open"): "50 5 2 1 1",
    ("approvals", "approvals_delegated"): "1000 100 10 1",
    ("approvals", "approvals_delegated_by_time"): "1000 100 10 1 1",
    ("usage_entries", "usage_entries"): "4000000 400000 4000 1",
    ("usage_entries", "usage_by_time"): "4000000 400000 4000 1",
    ("usage_entries", "usage_of_tenant"): "4000000 400000 1",
    ("audit", "audit"): "1000000 100000 1",
    ("audit", "audit_by_time"): "1000000 100000 1 1",
    ("sessions", "sessions"): "20000 2000 3 1",
    ("sessions", "sessions_revoked"): "500 1",
}


def statistics_statements() -> str:
    """The SQL that sets the figures. Connections opened afterwards use them."""
    rows = ", ".join(f"('{table}', '{index}', '{shape}')" for (table, index), shape in _SHAPES.items())
    return f"ANALYZE; DELETE FROM sqlite_stat1; INSERT INTO sqlite_stat1 (tbl, idx, stat) VALUES {rows}"
