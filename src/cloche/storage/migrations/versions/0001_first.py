"""The first schema: every table begins its key with the tenant, then the owner where rows are personal."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite keeps the rows of these in the order in which they were made, beside the key: what many users write at the same
# time then stands on few pages, and a commit writes few.
_HEAPS = frozenset({"events", "executions", "messages", "runs", "steps"})

_INT = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _text(*names: str, nullable: bool = False) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=nullable) for name in names]


def _int(*names: str, nullable: bool = False) -> list[sa.Column[int]]:
    return [sa.Column(name, _INT, nullable=nullable) for name in names]


def _blob(*names: str, nullable: bool = False) -> list[sa.Column[bytes]]:
    return [sa.Column(name, sa.LargeBinary(), nullable=nullable) for name in names]


def _table(
    name: str, key: tuple[str, ...], *columns: list[sa.Column[str]] | list[sa.Column[int]] | list[sa.Column[bytes]]
) -> None:
    flat = [column for group in columns for column in group]
    op.create_table(name, *flat, sa.PrimaryKeyConstraint(*key), sqlite_with_rowid=name in _HEAPS)


def _unique_where_given(name: str, table: str, place: tuple[str, ...], column: str) -> None:
    given = sa.text(f"{column} IS NOT NULL")
    op.create_index(name, table, [*place, column], unique=True, sqlite_where=given, postgresql_where=given)


def upgrade() -> None:
    _identity()
    _conversation()
    _execution()
    _accounting()


def _identity() -> None:
    _table(
        "tenants",
        ("id",),
        _text("id", "slug", "name", "status"),
        _int("created_at"),
        _int("retention_us", "retention_events", nullable=True),
    )
    op.create_index("tenants_by_slug", "tenants", ["slug"], unique=True)
    _table(
        "users",
        ("tenant_id", "id"),
        _text("tenant_id", "id", "email", "name", "role", "status"),
        _int("created_at", "updated_at"),
    )
    op.create_index("users_by_email", "users", ["tenant_id", "email"], unique=True)
    op.create_index("users_to_sign_in", "users", ["email"])
    _table(
        "identities",
        ("tenant_id", "user_id", "provider"),
        _text("tenant_id", "user_id", "provider", "subject"),
        _text("secret_hash", nullable=True),
        _int("created_at", "updated_at"),
    )
    op.create_index("identities_by_subject", "identities", ["tenant_id", "provider", "subject"], unique=True)
    _table(
        "sessions",
        ("tenant_id", "user_id", "id"),
        _text("tenant_id", "user_id", "id", "user_agent", "address"),
        _int("created_at", "used_at", "expires_at"),
        _int("revoked_at", nullable=True),
    )
    revoked = sa.text("revoked_at IS NOT NULL")
    op.create_index("sessions_revoked", "sessions", ["revoked_at"], sqlite_where=revoked, postgresql_where=revoked)
    _table(
        "refresh_tokens",
        ("tenant_id", "hash"),
        _text("tenant_id"),
        _blob("hash"),
        _text("user_id", "session_id"),
        _int("generation", "created_at", "expires_at"),
        _int("used_at", nullable=True),
    )
    op.create_index("refresh_tokens_by_session", "refresh_tokens", ["tenant_id", "user_id", "session_id"])
    _table(
        "api_keys",
        ("tenant_id", "user_id", "id"),
        _text("tenant_id", "user_id", "id", "name", "scopes"),
        _blob("hash"),
        _int("created_at"),
        _int("expires_at", "used_at", "revoked_at", nullable=True),
    )
    op.create_index("api_keys_by_hash", "api_keys", ["tenant_id", "hash"], unique=True)
    _table(
        "tickets",
        ("tenant_id", "hash"),
        _text("tenant_id"),
        _blob("hash"),
        _text("kind"),
        _text("user_id", "session_id", nullable=True),
        _int("created_at", "expires_at"),
        _int("used_at", nullable=True),
    )
    _table(
        "grants",
        ("tenant_id", "subject", "permission"),
        _text("tenant_id", "subject", "permission"),
        _int("created_at"),
    )
    _table(
        "limits", ("tenant_id", "subject", "name"), _text("tenant_id", "subject", "name"), _int("value", "updated_at")
    )
    _table(
        "audit",
        ("tenant_id", "id"),
        _text("tenant_id", "id", "actor", "action", "target"),
        _blob("detail"),
        _int("created_at"),
    )


def _conversation() -> None:
    _table(
        "threads",
        ("tenant_id", "user_id", "id"),
        _text("tenant_id", "user_id", "id", "title"),
        _blob("metadata"),
        _int("log_epoch", "head_seq", "first_seq", "created_at", "updated_at"),
        _int("archived_at", "deleted_at", nullable=True),
        _text("external_id", nullable=True),
    )
    op.create_index("threads_by_update", "threads", ["tenant_id", "user_id", "updated_at", "id"])
    _unique_where_given("threads_by_external_id", "threads", ("tenant_id", "user_id"), "external_id")
    _table(
        "messages",
        ("tenant_id", "user_id", "id"),
        _text("tenant_id", "user_id", "id", "thread_id", "role"),
        _text("run_id", "client_message_id", nullable=True),
        _int("seq", "created_at"),
        _text("parts"),
        _blob("body_digest", nullable=True),
    )
    op.create_index("messages_by_seq", "messages", ["tenant_id", "user_id", "thread_id", "seq"])
    _unique_where_given("messages_by_client_id", "messages", ("tenant_id", "user_id", "thread_id"), "client_message_id")
    _table(
        "events",
        ("tenant_id", "thread_id", "seq"),
        _text("tenant_id", "thread_id"),
        _int("seq"),
        _text("user_id", "type"),
        _text("run_id", nullable=True),
        _int("created_at"),
        _blob("body"),
    )
    _table(
        "idempotency",
        ("tenant_id", "user_id", "key"),
        _text("tenant_id", "user_id", "key"),
        _blob("body_digest", "answer"),
        _int("created_at"),
    )


def _execution() -> None:
    _table(
        "runs",
        ("tenant_id", "user_id", "id"),
        _text("tenant_id", "user_id", "id", "thread_id", "message_id", "agent", "agent_version", "model", "state"),
        _text("request_id", "trace_id"),
        _int("epoch", "attempt", "losses", "timeout_us", "first_seq", "last_seq", "created_at"),
        _int("deadline_at", "admitted_at", "cancel_requested_at", "ended_at", "lease_until", nullable=True),
        _text("cancel_reason", "worker_id", "parent_run_id", "external_id", nullable=True),
        _text("failure_code", "failure_message", nullable=True),
        _int("failure_retryable", nullable=True),
        _blob("usage"),
        _int("pending_at", "starting_at", "running_at", "waiting_at", "completing_at", "cancelling_at", nullable=True),
        _int("completed_at", "failed_at", "timeout_at", "dead_at", "cancelled_at", nullable=True),
    )
    op.create_index("runs_by_thread", "runs", ["tenant_id", "user_id", "thread_id", "first_seq"])
    op.create_index("runs_by_time", "runs", ["tenant_id", "created_at", "id"])
    live = sa.text("ended_at IS NULL")
    op.create_index(
        "runs_live",
        "runs",
        ["tenant_id", "user_id", "thread_id", "first_seq"],
        sqlite_where=live,
        postgresql_where=live,
    )
    _table(
        "executions",
        ("tenant_id", "user_id", "run_id", "epoch"),
        _text("tenant_id", "user_id", "run_id"),
        _int("epoch"),
        _text("id", "worker_id", "state"),
        _int("started_at"),
        _int("ended_at", nullable=True),
    )
    _table(
        "steps",
        ("tenant_id", "user_id", "run_id", "idx"),
        _text("tenant_id", "user_id", "run_id"),
        _int("idx"),
        _text("kind", "name", "state", "reference"),
        _blob("input_digest", "result"),
        _int("epoch", "started_at"),
        _int("ended_at", nullable=True),
    )
    _table(
        "tool_intents",
        ("tenant_id", "user_id", "run_id", "tool_call_id"),
        _text("tenant_id", "user_id", "run_id", "tool_call_id", "tool", "effect", "state"),
        _blob("arguments"),
        _int("epoch", "created_at"),
        _int("ended_at", nullable=True),
    )
    _table(
        "approvals",
        ("tenant_id", "user_id", "id"),
        _text("tenant_id", "user_id", "id", "thread_id", "run_id", "tool_call_id", "tool", "question", "state"),
        _blob("arguments", "schema"),
        _int("created_at", "expires_at"),
        _int("decided_at", nullable=True),
        _text("decided_by", "delegate_id", nullable=True),
        _blob("edited_arguments", nullable=True),
    )
    op.create_index("approvals_by_call", "approvals", ["tenant_id", "user_id", "run_id", "tool_call_id"])
    given = sa.text("delegate_id IS NOT NULL")
    for name, columns in (("approvals_delegated", ("id",)), ("approvals_delegated_by_time", ("created_at", "id"))):
        place = ["tenant_id", "delegate_id", *columns]
        op.create_index(name, "approvals", place, sqlite_where=given, postgresql_where=given)
    pending = sa.text("state = 'pending'")
    op.create_index(
        "approvals_open",
        "approvals",
        ["tenant_id", "user_id", "thread_id", "id"],
        sqlite_where=pending,
        postgresql_where=pending,
    )
    _table(
        "agents",
        ("tenant_id", "name", "version"),
        _text("tenant_id", "name", "version"),
        _blob("spec"),
        _int("created_at"),
    )


def _accounting() -> None:
    _table(
        "usage_entries",
        ("tenant_id", "user_id", "id"),
        _text("tenant_id", "user_id", "id", "run_id", "agent", "model"),
        _int("step", "input_tokens", "output_tokens", "created_at"),
    )
    op.create_index("usage_by_time", "usage_entries", ["tenant_id", "user_id", "created_at"])
