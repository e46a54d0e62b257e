from typing import Any

import httpx

from nas_service.database import Database
from nas_service.messages import MAX_RESULTS
from tests.builders import a_search_file, an_outside_result, submitted


def bring(client: httpx.Client, search_id: int, *rows: dict[str, Any]) -> httpx.Response:
    return client.post(f"/api/v1/searches/{search_id}/results", json={"results": list(rows)})


def a_row(**changes: Any) -> dict[str, Any]:
    return an_outside_result(**changes).model_dump(mode="json")


def test_results_are_stored_once_and_seen_everywhere(client: httpx.Client, database: Database) -> None:
    search_id = submitted(database)
    assert bring(client, search_id, a_row()).json() == {"added": 1, "already_there": 0}
    assert bring(client, search_id, a_row()).json() == {"added": 0, "already_there": 1}
    search = client.get(f"/api/v1/searches/{search_id}").json()
    assert (search["arms"][0]["spent"], search["arms"][0]["imported"]) == (0, 1)
    page = client.get(f"/searches/{search_id}").text
    assert "imported from a paper" in page
    assert '<b class="num">1</b> imported' in page
    figure = client.get(f"/api/v1/searches/{search_id}/plot").json()
    assert [trace["customdata"][0][7] for trace in figure["data"] if trace.get("customdata")] == ["imported"] * 2


def test_faults_are_listed_by_their_field(client: httpx.Client, database: Database) -> None:
    answer = bring(client, submitted(database), a_row(), a_row(d_z=999))
    assert answer.status_code == 422
    assert "1 of 2 results do not suit the search" in answer.json()["error"]
    assert [fault["field"] for fault in answer.json()["faults"]] == ["results.1.d_z"]


def test_too_many_at_once_are_refused_with_the_number_that_is_allowed(client: httpx.Client, database: Database) -> None:
    answer = bring(client, submitted(database), *[a_row()] * (MAX_RESULTS + 1))
    assert answer.status_code == 422
    assert "at most 5,000 results at once (got 5,001); send them in parts" in answer.json()["error"]


def test_what_is_no_search_or_no_result_is_refused(client: httpx.Client, database: Database) -> None:
    assert bring(client, 99, a_row()).status_code == 404
    assert bring(client, submitted(database)).status_code == 422
    assert bring(client, submitted(database), a_row() | {"psnr": 3}).json()["faults"][0]["field"] == "results.0.psnr"


def test_a_search_may_begin_paused(client: httpx.Client) -> None:
    answer = client.post("/api/v1/searches", params={"paused": "true"}, json=a_search_file())
    assert (answer.status_code, answer.json()["state"]) == (201, "paused")
