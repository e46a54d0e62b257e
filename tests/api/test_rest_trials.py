import csv
import io
from pathlib import Path
from typing import Any

import httpx
import pytest

from nas_service.analysis.tables import csv_lines
from nas_service.database import Database
from nas_service.domain.trial import Trial
from tests.builders import ARMS, completed, enqueued, submitted


def trials_of(search_id: int) -> str:
    return f"/api/v1/searches/{search_id}/trials"


def a_shape(**changes: Any) -> dict[str, Any]:
    return {"arm": "hourglass", "d_z": 65, "d_h": 8, "depth": 1, "lr": 2e-3} | changes


# ---- queueing a given architecture


def test_an_architecture_can_be_queued(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    answer = client.post(trials_of(search_id), json=a_shape())
    assert answer.status_code == 201
    trial = answer.json()
    assert (trial["state"], trial["origin"], trial["number"], trial["lr"]) == ("queued", "enqueued", 0, 0.002)
    assert trial["costs"]["parameters_trainable"] == 2 * 64 * 65 + 2 * 65 * 8
    assert client.get(f"/api/v1/trials/{trial['id']}").json() == trial
    assert client.get(f"/api/v1/searches/{search_id}").json()["arms"][0]["spent"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_h": 65}, "d_h must be below d_z in an hourglass (got d_h=65, d_z=65)"),
        ({"arm": "plain", "d_z": 65, "d_h": 70}, "w_in none needs d_z equal to d_x (got d_z=65, d_x=64)"),
        ({"lr": None}, "this arm searches lr in [0.001, 0.01]; say which one to train"),
        ({"d_h": 32, "depth": 4}, "limits allow max_parameters 20,000 (this has 24,960 parameters"),
    ],
)
def test_an_architecture_that_does_not_suit_is_refused(
    client: httpx.Client, database: Database, changes: dict[str, Any], message: str
) -> None:
    search_id = submitted(database, arms=ARMS, limits={"max_parameters": 20_000})
    answer = client.post(trials_of(search_id), json=a_shape(**changes))
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    assert client.get(trials_of(search_id)).json()["items"] == []


def test_faulty_sizes_are_named_together(client: httpx.Client, database: Database) -> None:
    answer = client.post(trials_of(submitted(database)), json=a_shape(d_z=0, depth="deep", lr=-1, width=3))
    assert answer.status_code == 422
    assert {fault["field"]: fault["value"] for fault in answer.json()["faults"]} == {
        "d_z": 0, "depth": "deep", "lr": -1, "width": 3,
    }  # fmt: skip


def test_the_same_architecture_is_queued_once(client: httpx.Client, database: Database) -> None:
    path = trials_of(submitted(database))
    client.post(path, json=a_shape(lr=2e-3))
    answer = client.post(path, json=a_shape(lr=2.0001e-3))
    assert answer.status_code == 409
    assert answer.json()["error"] == "arm hourglass has this architecture and learning rate already, as number 0"
    assert client.post(path, json=a_shape(lr=2.1e-3)).status_code == 201


def test_an_arm_that_is_not_there_is_answered_with_those_that_are(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database, arms=ARMS)
    answer = client.post(trials_of(search_id), json=a_shape(arm="wide"))
    assert answer.status_code == 422
    assert answer.json()["error"] == f"search {search_id} has no arm 'wide'; it has hourglass, plain"


def test_nothing_is_queued_after_the_end_but_in_a_paused_search_it_is(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    client.post(f"/api/v1/searches/{search_id}/pause")
    assert client.post(trials_of(search_id), json=a_shape()).status_code == 201
    client.post(f"/api/v1/searches/{search_id}/cancel")
    answer = client.post(trials_of(search_id), json=a_shape(d_z=66))
    assert answer.status_code == 409
    assert "is cancelled; nothing can be queued in it" in answer.json()["error"]


# ---- reading


@pytest.fixture
def mixed(database: Database, tmp_path: Path) -> int:
    """A search with two completed trials in one arm, a queued one in it, and two queued ones in the other."""
    search_id = submitted(database, arms=ARMS)
    completed(database, tmp_path, search_id, 20.0)
    completed(database, tmp_path, search_id, 22.0, d_h=9)
    enqueued(database, search_id, d_h=10)
    enqueued(database, search_id, "plain", d_z=64, d_h=70)
    enqueued(database, search_id, "plain", d_z=64, d_h=71)
    return search_id


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({}, [("plain", 1), ("plain", 0), ("hourglass", 2), ("hourglass", 1), ("hourglass", 0)]),
        ({"arm": "plain"}, [("plain", 1), ("plain", 0)]),
        ({"state": "completed"}, [("hourglass", 1), ("hourglass", 0)]),
        ({"state": "queued", "arm": "hourglass"}, [("hourglass", 2)]),
        ({"arm": "none such"}, []),
    ],
)
def test_trials_are_listed_newest_first_by_arm_and_state(
    client: httpx.Client, mixed: int, filters: dict[str, str], numbers: list[tuple[str, int]]
) -> None:
    items = client.get(trials_of(mixed), params=filters).json()["items"]
    assert [(item["arm"], item["number"]) for item in items] == numbers


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_pages_of_trials_hold_each_trial_once(client: httpx.Client, mixed: int, limit: int) -> None:
    whole = client.get(trials_of(mixed)).json()
    seen, page = [], client.get(trials_of(mixed), params={"limit": limit}).json()
    seen += page["items"]
    while page["next_cursor"] is not None:
        assert len(page["items"]) == limit
        page = client.get(trials_of(mixed), params={"limit": limit, "cursor": page["next_cursor"]}).json()
        seen += page["items"]
    assert seen == whole["items"]


def test_a_page_in_hand_is_not_shifted_by_a_new_trial(client: httpx.Client, mixed: int, database: Database) -> None:
    whole = client.get(trials_of(mixed)).json()["items"]
    page = client.get(trials_of(mixed), params={"limit": 2}).json()
    enqueued(database, mixed, d_h=11)
    rest = client.get(trials_of(mixed), params={"cursor": page["next_cursor"]}).json()["items"]
    assert page["items"] + rest == whole


def test_an_unknown_state_is_refused(client: httpx.Client, mixed: int) -> None:
    answer = client.get(trials_of(mixed), params={"state": "asleep"})
    assert answer.status_code == 422
    assert "'queued', 'leased', 'completed'" in answer.json()["error"]


@pytest.mark.parametrize("filters", [{}, {"arm": "plain"}, {"state": "completed"}])
def test_the_csv_holds_what_the_json_holds(client: httpx.Client, mixed: int, filters: dict[str, str]) -> None:
    items = client.get(trials_of(mixed), params=filters).json()["items"]
    answer = client.get(trials_of(mixed), params=filters | {"format": "csv", "limit": "1"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert f'filename="search-{mixed}-trials.csv"' in answer.headers["Content-Disposition"]
    assert answer.text == "".join(csv_lines([Trial.model_validate(item) for item in items]))
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [int(row["macs"]) for row in rows] == [item["costs"]["macs"] for item in items]


def test_a_trial_or_its_curves_or_network_that_is_not_there_is_not_found(client: httpx.Client) -> None:
    for path in ("", "/reports", "/network"):
        answer = client.get(f"/api/v1/trials/99{path}")
        assert (answer.status_code, answer.json()["error"]) == (404, "there is no trial 99")


def test_a_trial_without_a_network_says_why(client: httpx.Client, mixed: int) -> None:
    answer = client.get("/api/v1/trials/1/network")
    assert answer.status_code == 404
    assert "no network of trial 1 is kept" in answer.json()["error"]
