import apsw
import pytest

from cloche.errors import MigrationNeededError
from cloche.storage import schema
from cloche.storage.migrations.render import render
from cloche.storage.schema import HEAD, check_version, require_version, upgrade_statements


def test_this_program_s_schema_is_right() -> None:
    assert check_version(HEAD)
    require_version(HEAD)


@pytest.mark.parametrize("found", [None, "0000"])
def test_an_earlier_schema_can_be_brought_up_by_a_command_that_is_named(
    monkeypatch: pytest.MonkeyPatch, found: str | None
) -> None:
    monkeypatch.setattr(schema, "KNOWN", frozenset({"0000", HEAD}))

    assert not check_version(found)
    with pytest.raises(MigrationNeededError, match=f"schema {found or 'none'}.*`cloche db upgrade`") as needed:
        require_version(found)

    assert needed.value.details == {"found": found, "needed": HEAD}
    assert not needed.value.retryable


@pytest.mark.parametrize("found", ["9999", "", "rubbish"])
def test_a_schema_that_is_not_known_is_another_program_s(found: str) -> None:
    for check in (check_version, require_version):
        with pytest.raises(MigrationNeededError, match="newer Cloche") as needed:
            check(found)

        assert needed.value.details == {"found": found, "needed": HEAD}


@pytest.mark.slow
def test_every_table_begins_its_key_with_the_tenant() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(upgrade_statements("sqlite", None)).fetchall()
    tables = {
        str(name): {str(column): key for _, column, *_, key in connection.execute(f"PRAGMA table_info({name})")}
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    }

    first_of_key = {name: next(column for column, key in found.items() if key == 1) for name, found in tables.items()}

    assert {name: column for name, column in first_of_key.items() if column != "tenant_id"} == {
        "tenants": "id",
        "schema_migrations": "version_num",
    }
    own = {name: columns["user_id"] for name, columns in tables.items() if columns.get("user_id")}
    assert set(own.values()) == {2}


@pytest.mark.slow
def test_the_same_migrations_are_written_for_both_engines() -> None:
    names = [
        {
            line.split()[2].strip("(")
            for line in upgrade_statements(dialect, None).splitlines()
            if "CREATE TABLE" in line
        }
        for dialect in ("sqlite", "postgresql")
    ]

    assert names[0] == names[1]
    assert HEAD in upgrade_statements("postgresql", None)


@pytest.mark.slow
def test_a_database_of_the_first_schema_is_brought_up_with_everything_in_it() -> None:
    connection = apsw.Connection(":memory:")
    connection.execute(render("sqlite", None, "0001")).fetchall()
    connection.execute(
        "INSERT INTO threads (tenant_id, user_id, id, title, metadata, log_epoch, head_seq, first_seq, created_at, "
        "updated_at) VALUES ('t', 'u', 'one', 'Kept', '{}', 1, 7, 1, 1, 1)"
    )

    connection.execute(upgrade_statements("sqlite", "0001")).fetchall()

    assert connection.execute("SELECT title, head_seq, read_seq, branched_from FROM threads").fetchall() == [
        ("Kept", 7, 7, None)
    ]
    assert connection.execute("SELECT version_num FROM schema_migrations").fetchall() == [(HEAD,)]
