import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from api.app import Server, create_app
from nas_service.database import Database
from nas_service.lifecycle import control
from nas_service.settings import Settings
from tests.builders import a_request, enqueued, submitted


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    """A real server in a thread: the test client cannot read a stream without an end."""
    app = create_app(Settings(home=tmp_path, database_url=database_url, poll_seconds=0.01))
    server = Server(uvicorn.Config(app, log_level="error"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=10) as client:
            yield client
        server.should_exit = True
        thread.join(timeout=10)
    assert not thread.is_alive()


def events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    """The events of a stream: their fields, `data` read as JSON."""
    fields: dict[str, Any] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "data" in fields:
            yield fields | {"data": json.loads(fields["data"])}
            fields = {}


def read(client: httpx.Client, search_id: int, count: int, **how: Any) -> list[dict[str, Any]]:
    with client.stream("GET", f"/api/v1/searches/{search_id}/events", **how) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        stream = events(answer.iter_lines())
        return [next(stream) for _ in range(count)]


def test_a_stream_begins_with_the_first_event(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    trial_id = enqueued(database, search_id)
    first, second = read(client, search_id, 2)
    assert (first["id"], first["event"]) == ("1", "search_submitted")
    assert (second["id"], second["event"], second["data"]["trial_id"]) == ("2", "trial_queued", trial_id)
    assert second["data"]["data"] == {"arm": "hourglass", "number": 0, "origin": "enqueued"}


def test_a_stream_resumes_behind_the_last_event_that_the_client_has(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    for d_z in (65, 66, 67):
        enqueued(database, search_id, d_z=d_z)
    rest = read(client, search_id, 2, headers={"Last-Event-ID": "2"})
    assert [event["id"] for event in rest] == ["3", "4"]
    rest = read(client, search_id, 1, params={"after": 3})
    assert [event["id"] for event in rest] == ["4"]
    rest = read(client, search_id, 1, params={"after": 1}, headers={"Last-Event-ID": "3"})
    assert [event["id"] for event in rest] == ["4"]


def test_a_stream_waits_for_what_has_yet_to_happen(client: httpx.Client, database: Database) -> None:
    search_id, other = submitted(database), submitted(database)
    with client.stream("GET", f"/api/v1/searches/{search_id}/events") as answer:
        stream = events(answer.iter_lines())
        assert next(stream)["event"] == "search_submitted"
        with database.write() as connection:
            control.pause(connection, other)
            control.pause(connection, search_id)
        news = next(stream)
    assert (news["id"], news["event"], news["data"]["search_id"]) == ("2", "search_paused", search_id)


def test_a_stream_ends_when_its_search_is_deleted(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    with client.stream("GET", f"/api/v1/searches/{search_id}/events") as answer:
        lines = answer.iter_lines()
        assert next(events(lines))["id"] == "1"
        with database.write() as connection:
            control.cancel(connection, search_id)
            control.delete(connection, search_id)
        assert len(list(events(lines))) <= 1  # at most the cancellation, then the end


def test_there_is_no_stream_of_no_search(client: httpx.Client) -> None:
    answer = client.get("/api/v1/searches/99/events")
    assert (answer.status_code, answer.json()["error"]) == (404, "there is no search 99")


@pytest.mark.parametrize("number", ["x", "-1", str(2**63)])
def test_a_faulty_event_number_is_refused(client: httpx.Client, database: Database, number: str) -> None:
    path = f"/api/v1/searches/{submitted(database)}/events"
    assert client.get(path, headers={"Last-Event-ID": number}).status_code == 422
    assert client.get(path, params={"after": number}).status_code == 422


def test_a_waiting_worker_gets_the_trial_as_soon_as_it_is_queued(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    queueing = threading.Timer(0.1, enqueued, (database, search_id))
    queueing.start()
    request = a_request().model_copy(update={"wait_seconds": 8})
    answer = client.post("/api/v1/leases", json=request.model_dump(mode="json"))
    queueing.join()
    assert answer.json()["search_id"] == search_id
    assert answer.elapsed.total_seconds() < 5
