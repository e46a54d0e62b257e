"""The audit on both databases: entries are added, and never changed or removed."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from nas_service.database import Database
from nas_service.database.audit import append_audit, newest_entries
from nas_service.domain.roles import Caller, Role

ADA = Caller(key_id=7, name="ada", role=Role.SUBMITTER)


def test_entries_come_back_newest_first_in_pages(each_database: Database) -> None:
    with each_database.write() as connection:
        for number in range(3):
            append_audit(connection, ADA, "search_paused", number, {"was": "running"})
    with each_database.read() as connection:
        newest = newest_entries(connection, 2)
        rest = newest_entries(connection, 2, newest[-1].id)
    assert [entry.search_id for entry in newest + rest] == [2, 1, 0]
    assert (rest[0].key_id, rest[0].actor, rest[0].detail) == (7, "ada", {"was": "running"})


@pytest.mark.parametrize("change", ["UPDATE audit SET actor = 'eve'", "DELETE FROM audit"])
def test_an_entry_can_be_neither_changed_nor_removed(each_database: Database, change: str) -> None:
    with each_database.write() as connection:
        append_audit(connection, ADA, "search_deleted", 1, {})
    with pytest.raises(DBAPIError, match="the audit is append-only"), each_database.write() as connection:
        connection.execute(text(change))
    with each_database.read() as connection:
        assert [entry.actor for entry in newest_entries(connection, 10)] == ["ada"]


def test_postgresql_does_not_let_the_audit_be_emptied(postgres_database: Database) -> None:
    with pytest.raises(DBAPIError, match="the audit is append-only"), postgres_database.write() as connection:
        connection.execute(text("TRUNCATE audit"))
