"""Migrations: up, down and up again; what they make is what tables.py says; a database that is behind is refused."""

from pathlib import Path

import pytest

from nas_service.database import Database
from nas_service.database.migrate import SchemaIsBehind, check, downgrade, require_current, upgrade
from tests.builders import submitted


def test_every_migration_goes_up_down_and_up_again(each_database: Database) -> None:
    downgrade(each_database.url, "base")
    upgrade(each_database.url)
    require_current(each_database.url)
    assert submitted(each_database) == 1


def test_the_migrations_make_the_tables_that_the_code_knows() -> None:
    check()


def test_a_database_that_is_behind_is_refused_with_the_command_that_mends_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    with pytest.raises(SchemaIsBehind, match="run `hourglass migrate` first"):
        require_current(url)
    upgrade(url)
    require_current(url)
