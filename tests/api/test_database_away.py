"""What callers get while the database cannot serve them, and that nothing needs a restart afterwards."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nas_service.database import Database
from tests.builders import a_request, a_search_file, serving, submitted


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(database_url, tmp_path, database_lock_seconds=0.1) as client:
        yield client


@pytest.fixture
def lock(tmp_path: Path, client: httpx.Client) -> Iterator[sqlite3.Connection]:
    """Another program that writes to the database for longer than a call waits."""
    other = sqlite3.connect(tmp_path / "hourglass.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    yield other
    other.close()


def test_a_call_that_waited_too_long_for_the_database_may_be_repeated(
    client: httpx.Client, lock: sqlite3.Connection
) -> None:
    refused = client.post("/api/v1/searches", json=a_search_file())
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert refused.json()["error"] == (
        "the database is busy and the call waited too long; nothing of this call was stored, try it again"
    )
    asked = client.post("/api/v1/leases", json=a_request().model_dump(mode="json"))
    assert asked.status_code == 503
    lock.execute("ROLLBACK")
    assert client.post("/api/v1/searches", json=a_search_file()).json()["id"] == 1


def test_a_full_disk_of_the_database_is_named(client: httpx.Client, tmp_path: Path, database: Database) -> None:
    fill(client, pages=1)
    refused = client.post("/api/v1/searches", json=a_search_file(name="x" * 200))
    while refused.status_code == 201:  # the last pages have some room
        refused = client.post("/api/v1/searches", json=a_search_file(name="x" * 200))
    assert refused.status_code == 503
    assert refused.json()["error"].startswith("the disk of the database is full; make room there")
    fill(client, pages=2**30)
    assert client.post("/api/v1/searches", json=a_search_file()).status_code == 201


def fill(client: httpx.Client, pages: int) -> None:
    """Let the database grow to that many pages at most; no fewer than it has."""
    with client.app.state.database.write() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


def test_a_server_without_its_database_is_alive_but_not_ready(client: httpx.Client, tmp_path: Path) -> None:
    assert client.get("/readyz").json() == {"status": "ok"}
    away(client, tmp_path)
    assert client.get("/healthz").status_code == 200
    refused = client.get("/readyz")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    back(client, tmp_path)
    assert client.get("/readyz").status_code == 200


@pytest.mark.parametrize("path", ["/", "/searches/1"])
def test_a_browser_gets_a_page_that_looks_again_by_itself(
    client: httpx.Client, database: Database, tmp_path: Path, path: str
) -> None:
    submitted(database)
    away(client, tmp_path)
    answer = client.get(path, headers={"Accept": "text/html"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert '<meta http-equiv="refresh" content="5">' in answer.text
    assert "The database cannot be reached." in answer.text
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'self'")
    back(client, tmp_path)
    assert client.get(path, headers={"Accept": "text/html"}).status_code == 200


def away(client: httpx.Client, folder: Path) -> None:
    """Put a folder where the database was."""
    client.app.state.database.close()
    (folder / "hourglass.db").rename(folder / "elsewhere.db")
    (folder / "hourglass.db").mkdir()


def back(client: httpx.Client, folder: Path) -> None:
    (folder / "hourglass.db").rmdir()
    (folder / "elsewhere.db").rename(folder / "hourglass.db")


def test_a_mistake_of_ours_is_no_outage(client: httpx.Client, database: Database) -> None:
    with database.write() as connection:
        connection.exec_driver_sql("DROP TABLE arms")
    with pytest.raises(Exception, match="no such table"):
        client.post("/api/v1/searches", json=a_search_file())
