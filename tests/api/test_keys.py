"""Keys at the door: open without any, closed from the first one on, at once, for every way of calling."""

import threading
from pathlib import Path

import httpx
import pytest
import structlog

from nas_service.client import Client
from nas_service.database import Database
from nas_service.database.keys import key_by_name
from nas_service.domain.records import StoredKey
from nas_service.domain.roles import ANYBODY_HERE
from nas_service.lifecycle.keys import own_key, revoke_key
from tests.acceptance.service import wait_until
from tests.builders import a_key, a_request, a_search_file, bearing, serving, submitted

SEARCHES = "/api/v1/searches"
HERE = {"Origin": "http://127.0.0.1"}


def stored(database: Database, name: str) -> StoredKey:
    with database.read() as connection:
        key = key_by_name(connection, name)
    assert key is not None
    return key


def revoked(database: Database, name: str) -> None:
    with database.write() as connection:
        revoke_key(connection, name, ANYBODY_HERE)


def test_the_first_key_closes_the_service_at_once_and_for_good(client: httpx.Client, database: Database) -> None:
    assert client.get(SEARCHES).status_code == 200
    key = a_key(database, "viewer")
    refused = client.get(SEARCHES)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "HOURGLASS_API_KEY" in refused.json()["error"]
    assert client.get(SEARCHES, headers=bearing(key)).status_code == 200
    revoked(database, "viewer")
    assert client.get(SEARCHES).status_code == 401


def test_a_revoked_key_ends_at_once_and_says_why(client: httpx.Client, database: Database) -> None:
    key = a_key(database, "viewer", "ada")
    assert client.get(SEARCHES, headers=bearing(key)).status_code == 200
    revoked(database, "ada")
    assert "the API key ada was revoked" in client.get(SEARCHES, headers=bearing(key)).json()["error"]


def test_an_expired_key_says_so_to_its_holder_alone(client: httpx.Client, database: Database) -> None:
    key = a_key(database, "viewer", "ada", days=-1)
    assert "the API key ada has expired" in client.get(SEARCHES, headers=bearing(key)).json()["error"]
    guessed = client.get(SEARCHES, headers=bearing(key[:-4] + "AAAA")).json()["error"]
    assert "not known here" in guessed
    assert "ada" not in guessed


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer  ", "Basic YTpi", "Bearer hg_1", "Bearer hg_own_x", "Bearer \xe9"]
)
def test_what_is_no_key_is_refused(client: httpx.Client, database: Database, header: str) -> None:
    a_key(database, "admin")
    answer = client.get(SEARCHES, headers={"Authorization": header.encode("latin-1")})
    assert answer.status_code == 401


def test_nobody_without_a_key_has_a_body_read(client: httpx.Client, database: Database) -> None:
    a_key(database, "admin")
    answer = client.post(SEARCHES, content=b"{ no JSON", headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


def test_with_keys_any_host_may_be_used(client: httpx.Client, database: Database) -> None:
    foreign = {"Host": "hourglass.example"}
    assert client.get("/healthz", headers=foreign).status_code == 403
    key = a_key(database, "viewer")
    assert client.get("/healthz", headers=foreign).status_code == 200
    assert client.get(SEARCHES, headers=foreign | bearing(key)).status_code == 200


@pytest.mark.parametrize("host", ["[", "[::1", "a b", "\xe9", ""])
def test_a_host_that_is_none_harms_nobody(client: httpx.Client, database: Database, host: str) -> None:
    key = a_key(database, "viewer")
    for path in ("/healthz", SEARCHES, "/", "/login"):
        answer = client.get(path, headers={"Host": host.encode("latin-1"), **bearing(key)}, follow_redirects=False)
        assert answer.status_code < 500, path


def test_the_last_use_of_a_key_is_noted(client: httpx.Client, database: Database) -> None:
    key = a_key(database, "viewer", "ada")
    assert stored(database, "ada").last_used_at is None
    client.get(SEARCHES, headers=bearing(key))
    wait_until(lambda: stored(database, "ada").last_used_at, 10, "the use is noted")
    first = stored(database, "ada").last_used_at
    client.get(SEARCHES, headers=bearing(key))
    assert stored(database, "ada").last_used_at == first  # exact to a minute: reading costs no writing


def test_the_services_own_workers_come_in_by_a_secret_without_a_row(database: Database, tmp_path: Path) -> None:
    own, another = own_key(), own_key()
    a_key(database, "admin")
    with serving(database.url, tmp_path, own) as client:
        asked = a_request().model_dump(mode="json")
        assert client.post("/api/v1/leases", json=asked, headers=bearing(own)).status_code == 204
        assert client.get(SEARCHES, headers=bearing(own)).status_code == 403
        assert client.post("/api/v1/leases", json=asked, headers=bearing(another)).status_code == 401


def test_a_key_shows_its_role_and_stands_in_no_log(
    client: httpx.Client, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    key = a_key(database, "submitter", "ada")
    me = client.get("/api/v1/me", headers=bearing(key)).json()
    assert (me["name"], me["role"], me["usage"]["running_searches"]) == ("ada", "submitter", 0)
    structlog.get_logger().warning("said")
    client.post("/login", data={"key": key + "x"}, headers=HERE)
    said = capsys.readouterr()
    assert "said" in said.out + said.err
    assert key not in said.out + said.err


def test_who_submits_owns_the_search(client: httpx.Client, database: Database) -> None:
    key = a_key(database, "submitter", "ada")
    search = client.post(SEARCHES, json=a_search_file(), headers=bearing(key)).json()
    assert (search["owner_key_id"], search["shared"]) == (stored(database, "ada").id, False)


def test_a_list_pages_over_what_may_be_seen(client: httpx.Client, database: Database) -> None:
    key = a_key(database, "submitter", "ada")
    for number in range(12):
        submitted(database, owner_key_id=1 if number % 3 == 0 else None)
    first = client.get(SEARCHES, params={"limit": 3}, headers=bearing(key)).json()
    rest = client.get(SEARCHES, params={"limit": 3, "cursor": first["next_cursor"]}, headers=bearing(key)).json()
    assert [len(page["items"]) for page in (first, rest)] == [3, 1]
    assert rest["next_cursor"] is None
    assert {search["owner_key_id"] for search in first["items"] + rest["items"]} == {1}


def test_a_stream_of_events_ends_with_its_key(served: str, database: Database) -> None:
    key = a_key(database, "submitter", "ada")
    with Client(served, key) as client:
        search_id = client.submit(a_search_file()).id
        with httpx.stream("GET", f"{served}{SEARCHES}/{search_id}/events", headers=bearing(key), timeout=20) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "id: 1"
            revoked(database, "ada")
            a_key(database, "admin")
            with database.write() as connection:  # news wakes the stream
                from nas_service.lifecycle.control import pause

                pause(connection, search_id)
            assert not any("search_paused" in line for line in lines)  # it ends


def test_calls_with_a_key_from_many_threads_are_all_answered(served: str, database: Database) -> None:
    key = a_key(database, "viewer")
    answers: list[int] = []

    def look() -> None:
        answers.extend(httpx.get(f"{served}{SEARCHES}", headers=bearing(key)).status_code for _ in range(5))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [200] * 40
