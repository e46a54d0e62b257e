from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nas_service.database import Database
from tests.builders import enqueued, serving, submitted


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(database_url, tmp_path) as client:
        yield client


@pytest.fixture
def trial_id(database: Database) -> int:
    """A queued trial of a running search."""
    return enqueued(database, submitted(database))
