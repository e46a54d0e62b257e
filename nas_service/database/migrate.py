"""Brings a database to the schema of this version, or says that it is behind.

As a program: `python -m nas_service.database.migrate check` proves that migrations/ and tables.py agree.
"""

import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

PACKAGE = Path(__file__).parent.parent
# In a wheel the migrations lie inside the package, in a checkout beside it.
MIGRATIONS = next(path for path in (PACKAGE / "migrations", PACKAGE.parent / "migrations") if path.is_dir())


class DatabaseUnusable(RuntimeError):
    """The database cannot be opened; the message says why."""


class DatabaseNotUp(DatabaseUnusable):
    """The database cannot be reached yet; it may start after us, or be restarting."""


class SchemaIsBehind(DatabaseUnusable):
    """The database was made by another version; the message names the command that mends it."""


def upgrade(url: str, revision: str = "head") -> None:
    """Run all migrations up to `revision`."""
    with _opening():
        command.upgrade(_config(url), revision)


def downgrade(url: str, revision: str) -> None:
    """Undo migrations down to `revision`."""
    command.downgrade(_config(url), revision)


def require_current(url: str) -> None:
    """Return when the database stands at this version's schema.

    Raises:
        SchemaIsBehind: when it does not.
        DatabaseNotUp: when there is no answer, or the database is starting.
        DatabaseUnusable: when it refuses us or cannot be opened.
    """
    with _opening():
        engine = create_engine(url, connect_args={} if url.startswith("sqlite") else {"connect_timeout": 5})
        with engine.connect() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
        engine.dispose()
    expected = ScriptDirectory.from_config(_config(url)).get_current_head()
    if found != expected:
        raise SchemaIsBehind(
            f"the database is at schema {found or 'none'}, this version needs {expected}; run `hourglass migrate` first"
        )


def check() -> None:
    """Migrate an empty database up, down and up again, then compare it with tables.py; raises when they differ."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/check.db"
        upgrade(url)
        downgrade(url, "base")
        upgrade(url)
        command.check(_config(url))


@contextmanager
def _opening() -> Iterator[None]:
    try:
        yield
    except (SQLAlchemyError, ImportError) as error:
        why = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
        raise (DatabaseNotUp if _is_temporary(error, why) else DatabaseUnusable)(
            f"the database cannot be opened ({why}); it is that of HOURGLASS_DATABASE_URL or --data-dir"
        ) from error


def _is_temporary(error: Exception, why: str) -> bool:
    """Whether PostgreSQL may accept us later: its own refusals (FATAL) are for good, unless about its own state."""
    if not isinstance(error, OperationalError) or isinstance(error.orig, sqlite3.Error):
        return False
    return "FATAL" not in why or any(state in why for state in ("starting up", "shutting down", "recovery", "too many"))


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = url
    return config


if __name__ == "__main__":
    if sys.argv[1:] != ["check"]:
        sys.exit("usage: python -m nas_service.database.migrate check")
    check()
