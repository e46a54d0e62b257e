"""Fixtures of all tests: a migrated SQLite database, copied from one that is made once."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")

from nas_service.database import Database
from nas_service.database.migrate import upgrade


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
