"""Connections and transactions: SQLite (one file, WAL) or PostgreSQL, chosen by the URL.

A write transaction on SQLite begins with BEGIN IMMEDIATE: it waits for its turn at once instead of failing later. On
PostgreSQL rows are locked where a query says so. Nothing waits for ever; what may be awaited how long is a `Patience`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url

from nas_service.database.errors import ours
from nas_service.settings import Settings

SPARE_SECONDS = 5.0  # beyond the server's own limit of a statement, before a connection is given up as dead


@dataclass(frozen=True)
class Patience:
    """How long a process waits for its database, and how many connections it may hold. SQLite knows `lock_seconds`."""

    pool_size: int = 20  # connections
    pool_seconds: float = 10  # for one of them to be free
    connect_seconds: float = 5  # for a new one
    lock_seconds: float = 10  # for a row or, on SQLite, the file that another transaction holds
    statement_seconds: float = 30  # for one statement, its locks included
    idle_seconds: float = 30  # of a transaction that does nothing: its process may be frozen, and its locks hold others


class Database:
    """A pool of connections; hands out transactions. Both kinds raise DatabaseAway when it cannot serve them now."""

    def __init__(self, url: str, patience: Patience | None = None) -> None:
        self.url = url
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        patience = patience or Patience()
        if self.is_sqlite:
            self._engine = self._reader = _sqlite_engine(url, patience)
        else:
            self._engine = _postgresql_engine(url, patience)
            # Several queries of one reading see the same state of the database (SQLite's transactions do anyway).
            self._reader = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._writer = self._engine.execution_options(sqlite_begin="IMMEDIATE")

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The installation's database."""
        patience = Patience(
            pool_size=settings.database_pool_size,
            pool_seconds=settings.database_pool_seconds,
            connect_seconds=settings.database_connect_seconds,
            lock_seconds=settings.database_lock_seconds,
            statement_seconds=settings.database_statement_seconds,
            idle_seconds=settings.database_idle_seconds,
        )
        return cls(settings.url_of_database, patience)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One transaction that changes nothing."""
        with ours(), self._reader.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction; commits when the block ends, rolls back when it raises."""
        with ours(), self._writer.begin() as connection:
            yield connection

    def require_reachable(self) -> None:
        """Raise DatabaseAway unless the database answers."""
        with self.read() as connection:
            connection.execute(text("SELECT 1"))

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()


def _sqlite_engine(url: str, patience: Patience) -> Engine:
    engine = create_engine(url, connect_args={"timeout": patience.lock_seconds, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver must not begin transactions on its own
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('sqlite_begin', 'DEFERRED')}")

    return engine


def _postgresql_engine(url: str, patience: Patience) -> Engine:
    from nas_service.database.patience import PatientConnection

    given_up_after = patience.statement_seconds + SPARE_SECONDS
    engine = create_engine(
        url,
        pool_size=patience.pool_size,
        max_overflow=0,
        pool_timeout=patience.pool_seconds,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": max(1, round(patience.connect_seconds)),
            "application_name": "hourglass",
            # a machine that is gone: noticed in half a minute, whether we wait for it or it for us
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )

    @event.listens_for(engine, "do_connect")
    def _connect(_dialect: Any, _record: Any, arguments: Any, options: Any) -> PatientConnection:
        connection = PatientConnection.connect(*arguments, **options)
        connection.answer_seconds = given_up_after
        return connection

    @event.listens_for(engine, "connect")
    def _configure(connection: PatientConnection, _record: Any) -> None:
        limits = {
            "statement_timeout": patience.statement_seconds,
            "lock_timeout": patience.lock_seconds,
            "idle_in_transaction_session_timeout": patience.idle_seconds,
        }
        for name, seconds in limits.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, f"{seconds * 1000:.0f}"))
        connection.commit()

    return engine
