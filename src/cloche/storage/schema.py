"""Which schema this program needs, and how a database is brought there."""

from __future__ import annotations

from cloche.errors import MigrationNeededError

HEAD = "0003"
KNOWN = frozenset({"0001", "0002", HEAD})


def check_version(found: str | None) -> bool:
    """Whether the schema is the one of this program; False when it is older and can be brought up.

    Raises:
        MigrationNeededError: the schema is none that this program knows, so a newer one has written it.
    """
    if found == HEAD:
        return True
    if found is None or found in KNOWN:
        return False
    raise MigrationNeededError(
        f"the database has schema {found!r}, which this program (schema {HEAD!r}) does not know: a newer Cloche has "
        "written it. Start that version, or restore a backup made before the upgrade.",
        details={"found": found, "needed": HEAD},
    )


def require_version(found: str | None) -> None:
    """Return when the schema is the one of this program.

    Raises:
        MigrationNeededError: it is older or unknown; the text names the command that helps.
    """
    if not check_version(found):
        raise MigrationNeededError(
            f"the database has schema {found or 'none'}, this program needs {HEAD}: run `cloche db upgrade`",
            details={"found": found, "needed": HEAD},
        )


def upgrade_statements(dialect: str, found: str | None) -> str:
    """The SQL that brings a database of ``dialect`` from revision ``found`` to this program's."""
    from cloche.storage.migrations.render import render  # noqa: PLC0415 -- Alembic costs 0.3 s, needed once a database

    return render(dialect, found, HEAD)
