from pathlib import Path
from typing import Any

import httpx
import pytest

from nas_service.database import Database
from nas_service.lifecycle.control import fail, finish_if_done
from tests.builders import ARMS, a_request, a_search_file, completed, enqueued, leased, serving, submitted

SEARCHES = "/api/v1/searches"


def state_of(client: httpx.Client, search_id: int) -> str:
    return str(client.get(f"{SEARCHES}/{search_id}").json()["state"])


def test_a_submitted_search_is_stored_and_its_place_told(client: httpx.Client) -> None:
    answer = client.post(SEARCHES, json=a_search_file(name="mine", arms=ARMS))
    assert answer.status_code == 201
    stored = client.get(answer.headers["Location"]).json()
    assert stored == answer.json()
    assert (stored["name"], stored["state"], stored["budget"]) == ("mine", "running", 4)
    assert [arm["name"] for arm in stored["arms"]] == ["hourglass", "plain"]
    assert stored["arms"][0] | {"trials": {}} == {
        "name": "hourglass", "spent": 0, "budget": 4, "trials": {}, "imported": 0, "exhausted": None,
    }  # fmt: skip


def test_a_refused_search_names_every_faulty_field_and_stores_nothing(client: httpx.Client) -> None:
    file = a_search_file(
        seed=-1,
        colour="red",
        task={"kind": "denoising", "noise_std": 0},
        dataset={"path": "photos"},
        arms={"a": ARMS["hourglass"] | {"d_z": [0, 128]}},
    )
    answer = client.post(SEARCHES, json=file)
    assert answer.status_code == 422
    faults = {fault["field"]: fault for fault in answer.json()["faults"]}
    assert set(faults) == {"seed", "colour", "task.noise_std", "dataset.path", "arms.a.d_z"}
    assert faults["seed"] == {
        "field": "seed", "value": -1, "message": "Input should be greater than or equal to 0",
    }  # fmt: skip
    assert faults["arms.a.d_z"]["value"] == [0, 128]
    assert all(field in answer.json()["error"] for field in faults)
    assert client.get(SEARCHES).json()["items"] == []


def test_parts_that_do_not_fit_each_other_are_named_together(client: httpx.Client) -> None:
    arms = {"a": ARMS["hourglass"] | {"w_in": "none"}, "b": ARMS["hourglass"] | {"d_h": 500}}
    objectives = [{"name": "macs"}, {"name": "accuracy"}]
    answer = client.post(SEARCHES, json=a_search_file(arms=arms, objectives=objectives))
    assert answer.status_code == 422
    assert {fault["field"] for fault in answer.json()["faults"]} == {"arms.a", "arms.b", "objectives.1.name"}


@pytest.mark.parametrize("content", [b"{name: x", b"", b"\xff\xfe", b"[1]", b'"search"', b'{"seed": NaN}'])
def test_a_body_that_is_no_search_is_refused_as_a_whole(client: httpx.Client, content: bytes) -> None:
    answer = client.post(SEARCHES, content=content, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["faults"]
    assert answer.json()["error"]


def test_a_body_that_is_not_json_is_called_that(client: httpx.Client) -> None:
    answer = client.post(SEARCHES, content=b"{name: x", headers={"Content-Type": "application/json"})
    assert answer.json()["error"].startswith("body: the body must be JSON (")


def test_searches_are_listed_newest_first_page_by_page(client: httpx.Client, database: Database) -> None:
    ids = [submitted(database, name=f"search {number}") for number in range(5)]
    seen, cursor, pages = [], None, 0
    while pages == 0 or cursor is not None:
        page = client.get(SEARCHES, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        seen += [item["id"] for item in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert seen == ids[::-1]
    assert pages == 3


def test_a_full_last_page_has_no_next(client: httpx.Client, database: Database) -> None:
    for _ in range(2):
        submitted(database)
    assert client.get(SEARCHES, params={"limit": 2}).json()["next_cursor"] is None


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": 1001}, {"limit": "all"}, {"cursor": "x"}, {"cursor": -1}])
def test_a_faulty_page_is_refused(client: httpx.Client, params: dict[str, Any]) -> None:
    answer = client.get(SEARCHES, params=params)
    assert answer.status_code == 422
    assert [fault["field"] for fault in answer.json()["faults"]] == list(params)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", part) for part in ("", "/front", "/plot", "/trials", "/trials?format=csv", "/events")),
        *(("POST", part) for part in ("/pause", "/resume", "/cancel")),
        ("DELETE", ""),
    ],
)
def test_a_search_that_is_not_there_is_not_found(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, f"{SEARCHES}/99{path}")
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no search 99", "faults": []})


def test_extending_or_queueing_in_no_search_is_not_found(client: httpx.Client) -> None:
    assert client.post(f"{SEARCHES}/99/extend", json={"budget": 9}).status_code == 404
    trial = {"arm": "hourglass", "d_z": 65, "d_h": 8, "depth": 1}
    assert client.post(f"{SEARCHES}/99/trials", json=trial).status_code == 404


def test_a_search_pauses_and_resumes_and_saying_so_twice_is_fine(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    for verb, state in (("pause", "paused"), ("pause", "paused"), ("resume", "running"), ("resume", "running")):
        answer = client.post(f"{SEARCHES}/{search_id}/{verb}")
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    assert answer.json()["last_event"] == 3  # submitted, paused, resumed


def test_cancelling_ends_the_open_trials_and_keeps_the_finished(
    client: httpx.Client, database: Database, tmp_path: Path
) -> None:
    search_id = submitted(database)
    done = completed(database, tmp_path, search_id)
    running, waiting = enqueued(database, search_id, d_z=66), enqueued(database, search_id, d_z=67)
    assert leased(database, tmp_path).trial_id == running
    answer = client.post(f"{SEARCHES}/{search_id}/cancel").json()
    assert (answer["state"], answer["arms"][0]["spent"]) == ("cancelled", 1)
    states = {trial: client.get(f"/api/v1/trials/{trial}").json()["state"] for trial in (done, running, waiting)}
    assert states == {done: "completed", running: "cancelled", waiting: "cancelled"}


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_cancelled_search_has_ended_for_good(client: httpx.Client, database: Database, verb: str) -> None:
    search_id = submitted(database)
    client.post(f"{SEARCHES}/{search_id}/cancel")
    answer = client.post(f"{SEARCHES}/{search_id}/{verb}")
    assert answer.status_code == 409
    assert "a cancelled search cannot become" in answer.json()["error"]
    assert "it has ended" in answer.json()["error"]


def test_a_finished_search_runs_on_with_a_larger_budget_only(
    client: httpx.Client, database: Database, tmp_path: Path
) -> None:
    search_id = submitted(database, budget={"trials_per_arm": 1})
    completed(database, tmp_path, search_id)
    with database.write() as connection:
        assert finish_if_done(connection, search_id)
    refused = client.post(f"{SEARCHES}/{search_id}/resume")
    assert refused.status_code == 409
    assert "extend its budget" in refused.json()["error"]
    extended = client.post(f"{SEARCHES}/{search_id}/extend", json={"budget": 2}).json()
    assert (extended["state"], extended["budget"], extended["finished_at"]) == ("running", 2, None)


@pytest.mark.parametrize("budget", [4, 3.5])
def test_a_budget_only_grows(client: httpx.Client, database: Database, budget: float) -> None:
    answer = client.post(f"{SEARCHES}/{submitted(database)}/extend", json={"budget": budget})
    assert answer.status_code == 409
    assert answer.json()["error"] == f"the new budget must be above the present 4 per arm (got {budget:g})"


@pytest.mark.parametrize("body", [{}, {"budget": 0}, {"budget": "much"}, {"budget": 9, "unit": "trials"}])
def test_a_faulty_extension_is_refused(client: httpx.Client, database: Database, body: dict[str, Any]) -> None:
    assert client.post(f"{SEARCHES}/{submitted(database)}/extend", json=body).status_code == 422


def test_a_failed_search_is_not_extended(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    with database.write() as connection:
        fail(connection, search_id, "too many failures")
    answer = client.post(f"{SEARCHES}/{search_id}/extend", json={"budget": 9})
    assert answer.status_code == 409
    assert "is failed and cannot run on; submit it anew" in answer.json()["error"]
    assert client.get(f"{SEARCHES}/{search_id}").json()["reason"] == "too many failures"


@pytest.mark.parametrize("verb", [None, "pause"])
def test_a_search_that_has_not_ended_is_not_deleted(client: httpx.Client, database: Database, verb: str | None) -> None:
    search_id = submitted(database)
    if verb:
        client.post(f"{SEARCHES}/{search_id}/{verb}")
    answer = client.delete(f"{SEARCHES}/{search_id}")
    assert answer.status_code == 409
    assert "cancel it before deleting it" in answer.json()["error"]
    assert client.get(f"{SEARCHES}/{search_id}").status_code == 200


def test_a_deleted_search_is_gone_with_its_trials(client: httpx.Client, database: Database, tmp_path: Path) -> None:
    search_id, other = submitted(database), submitted(database)
    trial_id = completed(database, tmp_path, search_id)
    client.post(f"{SEARCHES}/{search_id}/cancel")
    assert client.delete(f"{SEARCHES}/{search_id}").status_code == 204
    assert client.get(f"{SEARCHES}/{search_id}").status_code == 404
    assert client.get(f"/api/v1/trials/{trial_id}").status_code == 404
    assert [item["id"] for item in client.get(SEARCHES).json()["items"]] == [other]


# ---- why nothing runs


def why(client: httpx.Client, search_id: int) -> str | None:
    reason: str | None = client.get(f"{SEARCHES}/{search_id}").json()["waiting_because"]
    return reason


def announce(client: httpx.Client, **worker: Any) -> None:
    client.post("/api/v1/leases", json=a_request(**worker).model_dump(mode="json"))


def test_nothing_runs_without_a_worker(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    assert "no worker is alive; start one with" in str(why(client, search_id))
    announce(client)
    assert why(client, search_id) == "the next trials are being chosen"
    client.delete("/api/v1/workers/w1")
    assert "no worker is alive" in str(why(client, search_id))


def test_nothing_runs_where_nobody_has_the_dataset(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    announce(client, datasets={"mnist": None, "folder:photos": None})
    reason = str(why(client, search_id))
    assert reason.startswith("no live worker has digits (they have folder:photos, mnist)")
    assert "HOURGLASS_DATA_DIR" in reason


def test_nothing_runs_where_the_dataset_is_another_one(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    enqueued(database, search_id)
    wrong = f"sha256:{64 * '0'}"
    announce(client, datasets={"digits": wrong})
    assert f"worker worker one has {wrong}" in str(why(client, search_id))
    assert "no live worker has digits with the digest sha256:75d59d" in str(why(client, search_id))


def test_nothing_runs_where_the_dataset_cannot_be_read(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    announce(client, datasets={"digits": None}, problems={"digits": "the disk is gone"})
    assert why(client, search_id) == "no live worker can read digits; worker worker one says: the disk is gone"


def test_nothing_runs_in_a_paused_search(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    client.post(f"{SEARCHES}/{search_id}/pause")
    assert why(client, search_id) == "the search is paused; resume it to go on"


def test_there_is_no_reason_while_a_trial_runs_or_after_the_end(
    client: httpx.Client, database: Database, tmp_path: Path
) -> None:
    search_id = submitted(database)
    enqueued(database, search_id)
    leased(database, tmp_path)
    assert why(client, search_id) is None
    client.post(f"{SEARCHES}/{search_id}/cancel")
    assert why(client, search_id) is None


# ---- what nobody would send


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "\\ud800"}',
        b'{"arms": {"\\ud800": 1}}',
        b'{"seed": NaN}',
        b'{"name": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"budget": {"epochs_per_arm": 1' + b"0" * 400 + b"}}",
    ],
)
def test_a_body_of_odd_text_or_numbers_or_depth_is_refused_as_any_other(client: httpx.Client, body: bytes) -> None:
    answer = client.post(SEARCHES, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["faults"]


def test_what_is_long_is_not_sent_back_whole(client: httpx.Client) -> None:
    answer = client.post(SEARCHES, json=a_search_file(name="n" * 100_000))
    (fault,) = answer.json()["faults"]
    assert fault["field"] == "name"
    assert fault["value"].startswith('"nnn')
    assert len(answer.content) < 2000


def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(client: httpx.Client) -> None:
    answer = client.put(SEARCHES)
    assert (answer.status_code, answer.json()["error"]) == (405, "Method Not Allowed")
    assert answer.headers["Allow"]


def test_a_failure_of_the_server_has_the_form_of_every_error(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("api.routes.searches.newest_searches", fails)
    with serving(database_url, tmp_path) as client:
        client._transport.raise_server_exceptions = False
        answer = client.get(SEARCHES)
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed at this; its log says why", "faults": []}
