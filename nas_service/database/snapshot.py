"""A copy of a SQLite database as it stood at one moment, taken while others write."""

import sqlite3
from contextlib import closing
from pathlib import Path

from sqlalchemy.engine import make_url

PAGES_AT_ONCE = -1  # all: a copy in steps would begin anew with every commit in between


def copy_sqlite(url: str, target: Path) -> None:
    """Copy the database of that URL into a new file, which needs nothing beside it."""
    source = make_url(url).database
    assert source is not None, "the embedded database is a file"
    with (
        closing(sqlite3.connect(f"{Path(source).as_uri()}?mode=ro", uri=True, timeout=30)) as connection,
        closing(sqlite3.connect(target)) as copy,
    ):
        connection.backup(copy, pages=PAGES_AT_ONCE)
        copy.execute("PRAGMA journal_mode=DELETE")
