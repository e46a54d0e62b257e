"""What a transaction raises when the database cannot serve it now; nothing of it was stored, so it may be repeated.

DatabaseAway         it cannot be reached, or gave no answer in time
├── DatabaseBusy     it lives, but a lock, a statement or a connection of the pool took too long
└── DatabaseFull     its disk is full

An error in a statement of ours is none of these and stays what it is.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout


class DatabaseAway(Exception):
    """The message is one sentence for whoever waits; the cause is the driver's error."""


class DatabaseBusy(DatabaseAway):
    """The database lives, but others keep it busy for longer than a call may wait."""


class DatabaseFull(DatabaseAway):
    """The database cannot grow."""


AWAY = "the database cannot be reached"
BUSY = "the database is busy and the call waited too long"
FULL = "the disk of the database is full; make room there"

_PSYCOPG_BUSY = {"40001", "40P01", "55P03", "57014"}  # serialization, deadlock, lock timeout, statement timeout
_PSYCOPG_FULL = {"53100"}
# Lost connections, too many of them, no memory, shutdown, crash, start, idle in a transaction.
_PSYCOPG_AWAY = ("08", "53", "57P", "25P03", "58")
_SQLITE_BUSY = {"SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_BUSY_SNAPSHOT"}
_SQLITE_AWAY = ("SQLITE_CANTOPEN", "SQLITE_IOERR", "SQLITE_READONLY")


@contextmanager
def ours() -> Iterator[None]:
    """Raise our errors for the drivers' where the database cannot serve a transaction."""
    try:
        yield
    except PoolTimeout as error:
        raise DatabaseBusy(BUSY) from error
    except DBAPIError as error:
        found = _away(error)
        if found is None:
            raise
        raise found from error


def _away(error: DBAPIError) -> DatabaseAway | None:
    if isinstance(error.orig, sqlite3.Error):
        return _away_on_sqlite(getattr(error.orig, "sqlite_errorname", ""))
    state = getattr(error.orig, "sqlstate", None)
    if state in _PSYCOPG_FULL:
        return DatabaseFull(FULL)
    if state in _PSYCOPG_BUSY:
        return DatabaseBusy(BUSY)
    is_lost = error.connection_invalidated or (
        state is None and isinstance(error, (OperationalError, InterfaceError))  # no answer at all
    )
    return DatabaseAway(AWAY) if is_lost or (state or "").startswith(_PSYCOPG_AWAY) else None


def _away_on_sqlite(name: str) -> DatabaseAway | None:
    if name == "SQLITE_FULL":
        return DatabaseFull(FULL)
    if name in _SQLITE_BUSY:
        return DatabaseBusy(BUSY)
    return DatabaseAway(AWAY) if name.startswith(_SQLITE_AWAY) else None
