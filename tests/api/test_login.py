"""Signing in and out: the cookie, where it leads, and what a foreign page cannot do with it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nas_service.database import Database
from nas_service.database.audit import newest_entries
from tests.builders import a_key, bearing, serving, submitted

HERE = {"Origin": "http://127.0.0.1"}


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(database_url, tmp_path) as client:
        client.follow_redirects = False
        yield client


def signed_in(client: httpx.Client, key: str, **fields: str) -> httpx.Response:
    return client.post("/login", data={"key": key, **fields}, headers=HERE)


def test_a_page_without_a_key_leads_to_the_login_page_and_back(client: httpx.Client, database: Database) -> None:
    key, search_id = a_key(database, "admin", "ada"), submitted(database)
    page = f"/searches/{search_id}?arm=hourglass&state="
    answer = client.get(page)
    assert answer.status_code == 303
    login = client.get(answer.headers["location"])
    assert login.status_code == 200
    assert 'name="next" value="/searches/1?arm=hourglass&amp;state="' in login.text
    assert signed_in(client, key, next=page).headers["location"] == page
    shown = client.get(page)
    assert shown.status_code == 200
    assert "ada" in shown.text
    assert "Sign out" in shown.text


def test_the_cookie_is_for_no_script_and_no_other_site(client: httpx.Client, database: Database) -> None:
    cookie = signed_in(client, a_key(database, "viewer")).headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/"} <= set(cookie.split("; "))
    assert "secure" not in cookie
    key = a_key(database, "viewer", "bob")
    sent = client.post("https://127.0.0.1/login", data={"key": key}, headers={"Origin": "https://127.0.0.1"})
    assert "secure" in sent.headers["set-cookie"].lower().split("; ")


@pytest.mark.parametrize(
    ("key", "sentence"),
    [("", "Type or paste an API key"), ("hg_1_wrong", "This API key is not known here"), ("<b>x", "is not known here")],
)
def test_a_wrong_key_leads_back_with_one_sentence(
    client: httpx.Client, database: Database, key: str, sentence: str
) -> None:
    a_key(database, "admin")
    answer = signed_in(client, key, next="/searches/1")
    assert answer.status_code == 401
    assert sentence in answer.text
    assert 'value="/searches/1"' in answer.text
    assert "<b>x" not in answer.text
    assert "set-cookie" not in answer.headers


def test_a_workers_key_is_not_for_the_dashboard(client: httpx.Client, database: Database) -> None:
    answer = signed_in(client, a_key(database, "worker", "gpu"))
    assert answer.status_code == 401
    assert "cannot look at the dashboard" in answer.text


@pytest.mark.parametrize(
    "page", ["//evil.example", "/\\evil.example", "https://evil.example", "/\t/evil.example", "evil", "", "/a b", "/\n"]
)
def test_signing_in_never_leads_to_another_site(client: httpx.Client, database: Database, page: str) -> None:
    assert signed_in(client, a_key(database, "viewer"), next=page).headers["location"] == "/"
    assert client.get("/login", params={"next": page}).headers["location"] == "/"


def test_signing_out_forgets_the_cookie(client: httpx.Client, database: Database) -> None:
    signed_in(client, a_key(database, "viewer"))
    assert client.get("/").status_code == 200
    assert client.post("/logout", headers=HERE).headers["location"] == "/login"
    assert client.get("/").status_code == 303


def test_while_there_are_no_keys_nobody_has_to_sign_in(client: httpx.Client) -> None:
    assert client.get("/login").headers["location"] == "/"
    assert "Sign out" not in client.get("/").text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://127.0.0.1:81"},
        {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "http://127.0.0.1", "Sec-Fetch-Site": "same-site"},
    ],
)
def test_the_cookie_changes_nothing_when_another_page_calls(
    client: httpx.Client, database: Database, headers: dict[str, str]
) -> None:
    key, search_id = a_key(database, "admin"), submitted(database)
    signed_in(client, key)
    path = f"/api/v1/searches/{search_id}"
    for method, where in (("POST", f"{path}/pause"), ("DELETE", path), ("POST", "/logout"), ("POST", "/login")):
        assert client.request(method, where, headers=headers).status_code == 403, where
    assert client.get(path).json()["state"] == "running"  # looking is no change
    assert client.post(f"{path}/pause", headers={**HERE, "Sec-Fetch-Site": "same-origin"}).json()["state"] == "paused"


def test_a_program_with_a_key_needs_no_origin(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    answer = client.post(f"/api/v1/searches/{search_id}/pause", headers=bearing(a_key(database, "admin")))
    assert answer.status_code == 200


def test_only_who_may_change_a_search_is_offered_the_buttons(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    signed_in(client, a_key(database, "admin"))
    assert 'data-verb="share"' in client.get(f"/searches/{search_id}").text
    client.post(f"/api/v1/searches/{search_id}/share", headers=HERE)
    assert 'data-verb="unshare"' in client.get(f"/searches/{search_id}").text
    client.cookies.clear()
    signed_in(client, a_key(database, "viewer"))
    assert "data-verb" not in client.get(f"/searches/{search_id}").text


def test_signing_in_stands_in_the_audit(client: httpx.Client, database: Database) -> None:
    signed_in(client, a_key(database, "viewer", "ada"))
    with database.read() as connection:
        (entry, *_) = newest_entries(connection, 5)
    assert (entry.action, entry.actor) == ("signed_in", "ada")
