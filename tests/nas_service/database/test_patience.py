"""How long a process waits for its database, and what it then says."""

from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from nas_service.database import Database, DatabaseAway, DatabaseBusy, Patience
from nas_service.database.events import lock_search
from nas_service.database.migrate import DatabaseNotUp, DatabaseUnusable, require_current
from tests.builders import submitted

HASTY = Patience(pool_size=1, pool_seconds=0.1, lock_seconds=0.1, statement_seconds=0.5, idle_seconds=0.1)


@pytest.fixture
def hasty(each_database: Database) -> Iterator[Database]:
    """The same database for somebody without patience."""
    database = Database(each_database.url, HASTY)
    yield database
    database.close()


@pytest.fixture
def hasty_on_postgres(postgres_database: Database) -> Iterator[Database]:
    database = Database(postgres_database.url, HASTY)
    yield database
    database.close()


def test_a_lock_that_another_transaction_holds_is_not_awaited_for_ever(
    each_database: Database, hasty: Database
) -> None:
    search_id = submitted(each_database)
    with each_database.write() as holder:
        lock_search(holder, search_id)
        with pytest.raises(DatabaseBusy), hasty.write() as connection:
            lock_search(connection, search_id)
    with hasty.write() as connection:
        assert lock_search(connection, search_id)


def test_a_statement_that_takes_too_long_is_ended(hasty_on_postgres: Database) -> None:
    with pytest.raises(DatabaseBusy), hasty_on_postgres.read() as connection:
        connection.execute(text("SELECT pg_sleep(60)"))
    hasty_on_postgres.require_reachable()


def test_a_pool_without_a_free_connection_is_not_awaited_for_ever(hasty_on_postgres: Database) -> None:
    with hasty_on_postgres.read(), pytest.raises(DatabaseBusy), hasty_on_postgres.read():
        pass


def test_a_transaction_that_does_nothing_for_long_loses_its_locks(
    postgres_database: Database, hasty_on_postgres: Database
) -> None:
    search_id = submitted(postgres_database)

    def fall_asleep() -> None:
        with hasty_on_postgres.write() as idle:
            lock_search(idle, search_id)
            with postgres_database.write() as connection:  # waits until the other one's time is over
                assert lock_search(connection, search_id)

    with pytest.raises(DatabaseAway):
        fall_asleep()
    hasty_on_postgres.require_reachable()


def test_a_reading_may_think_for_long(postgres_database: Database, hasty_on_postgres: Database) -> None:
    with hasty_on_postgres.read() as reading, postgres_database.read() as clock:
        reading.execute(text("SELECT 1"))
        clock.execute(text("SELECT pg_sleep(0.3)"))  # longer than a writing may
        reading.execute(text("SELECT 1"))


def test_a_reading_cannot_change_anything(postgres_database: Database) -> None:
    search_id = submitted(postgres_database)
    with pytest.raises(DBAPIError, match="read-only transaction"), postgres_database.read() as connection:
        lock_search(connection, search_id)


def test_a_database_that_is_not_there_is_told_from_one_that_refuses_us(postgres_database: Database) -> None:
    with pytest.raises(DatabaseNotUp):
        require_current("postgresql+psycopg://hourglass@127.0.0.1:1/hourglass")
    with pytest.raises(DatabaseUnusable, match="does not exist") as refused:
        require_current(postgres_database.url.replace("/test_", "/nothing_"))
    assert not isinstance(refused.value, DatabaseNotUp)


def test_a_server_that_cannot_be_reached_is_away_and_a_mistake_of_ours_is_not(postgres_database: Database) -> None:
    nobody = Database("postgresql+psycopg://hourglass@127.0.0.1:1/hourglass")
    with pytest.raises(DatabaseAway, match="cannot be reached"):
        nobody.require_reachable()
    nobody.close()
    with pytest.raises(DBAPIError, match="does not exist"), postgres_database.read() as connection:
        connection.execute(text("SELECT nothing FROM nowhere"))
