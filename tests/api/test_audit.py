"""Every deed of a person stands in the audit, in the transaction of the deed; admins read it in pages."""

from typing import Any

import httpx

from nas_service.database import Database
from tests.builders import a_key, a_search_file, an_outside_result, bearing

AUDIT = "/api/v1/audit"


def entries(client: httpx.Client, admin: str, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get(AUDIT, params=params, headers=bearing(admin)).json()["items"]
    return found


def test_every_deed_is_noted_with_its_doer(client: httpx.Client, database: Database) -> None:
    admin, ada = a_key(database, "admin"), bearing(a_key(database, "submitter", "ada"))
    search = "/api/v1/searches/1"
    client.post("/api/v1/searches", json=a_search_file(), headers=ada)
    for verb in ("pause", "resume", "share", "unshare"):
        assert client.post(f"{search}/{verb}", headers=ada).status_code == 200
    client.post(f"{search}/extend", json={"budget": 9}, headers=ada)
    client.post(f"{search}/trials", json={"arm": "hourglass", "d_z": 66, "d_h": 8, "depth": 1, "lr": 2e-3}, headers=ada)
    client.post(f"{search}/results", json={"results": [an_outside_result().model_dump(mode="json")]}, headers=ada)
    client.post(f"{search}/cancel", headers=ada)
    client.delete(search, headers=ada)
    noted = [entry for entry in entries(client, admin) if entry["actor"] == "ada"]
    assert [entry["action"] for entry in reversed(noted)] == [
        *("search_submitted", "search_paused", "search_resumed", "search_shared", "search_unshared"),
        *("budget_extended", "trial_enqueued", "results_brought", "search_cancelled", "search_deleted"),
    ]
    assert {(entry["key_id"], entry["search_id"]) for entry in noted} == {(2, 1)}
    assert [entry["detail"] for entry in noted if entry["action"] == "budget_extended"] == [{"budget": 9.0}]


def test_what_was_refused_is_no_deed(client: httpx.Client, database: Database) -> None:
    admin, ada = a_key(database, "admin"), bearing(a_key(database, "submitter", "ada"))
    client.post("/api/v1/searches", json=a_search_file(), headers=ada)
    assert client.delete("/api/v1/searches/1", headers=ada).status_code == 409  # it runs
    assert client.post("/api/v1/searches/1/extend", json={"budget": 1}, headers=ada).status_code == 409
    assert [entry["action"] for entry in entries(client, admin)][:1] == ["search_submitted"]


def test_the_audit_is_read_in_pages(client: httpx.Client, database: Database) -> None:
    admin = a_key(database, "admin")
    for name in ("ada", "bob", "eve"):
        a_key(database, "viewer", name)
    page = client.get(AUDIT, params={"limit": 3}, headers=bearing(admin)).json()
    rest = client.get(AUDIT, params={"limit": 3, "cursor": page["next_cursor"]}, headers=bearing(admin)).json()
    names = [entry["detail"]["name"] for entry in page["items"] + rest["items"]]
    assert (names, rest["next_cursor"]) == (["eve", "bob", "ada", "admin"], None)


def test_while_there_are_no_keys_the_doer_is_this_machine(client: httpx.Client) -> None:
    client.post("/api/v1/searches", json=a_search_file())
    (entry,) = client.get(AUDIT).json()["items"]
    assert (entry["actor"], entry["key_id"], entry["action"]) == ("this machine", None, "search_submitted")
