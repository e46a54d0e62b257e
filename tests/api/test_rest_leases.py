from typing import Any

import httpx
import pytest

from nas_service.database import Database
from tests.api.holder import LEASES, Holder, ask, trial
from tests.builders import a_request, enqueued

# ---- asking


def test_an_idle_server_has_nothing_to_train(client: httpx.Client) -> None:
    answer = ask(client)
    assert (answer.status_code, answer.content) == (204, b"")
    assert [worker["id"] for worker in client.get("/api/v1/workers").json()["items"]] == ["w1"]


def test_a_lease_holds_all_that_the_worker_needs(client: httpx.Client, trial_id: int) -> None:
    answer = ask(client)
    assert answer.status_code == 200
    lease = answer.json()
    assert (lease["trial_id"], lease["kind"], lease["token"], lease["seed"]) == (trial_id, "train", 1, 42)
    assert lease["architecture"]["d_z"] == 65
    assert lease["lr"] == 1e-3
    assert (lease["dataset"]["name"], lease["task"]["kind"], lease["recipe"]["epochs"]) == ("digits", "denoising", 2)
    assert (lease["quality"], lease["quality_direction"]) == ("psnr_db", "maximize")
    assert lease["heartbeat_seconds"] < lease["lease_seconds"]
    assert trial(client, trial_id)["worker_id"] == "w1"


def test_the_same_request_gets_the_same_lease(client: httpx.Client, trial_id: int, database: Database) -> None:
    enqueued(database, 1, d_h=9)
    first, again, another = ask(client, "request-1"), ask(client, "request-1"), ask(client, "request-2")
    assert first.json() == again.json()
    assert another.json()["trial_id"] != trial_id


def test_a_trial_is_leased_to_one_worker(client: httpx.Client, trial_id: int) -> None:
    assert ask(client, "request-1").json()["trial_id"] == trial_id
    assert ask(client, "request-2", id="w2").status_code == 204


@pytest.mark.parametrize(
    "worker",
    [
        {"datasets": {"mnist": None}},
        {"datasets": {}},
        {"datasets": {"digits": f"sha256:{64 * '0'}"}},
        {"problems": {"digits": "the disk is gone"}},
    ],
)
def test_a_worker_gets_only_what_it_can_read(client: httpx.Client, trial_id: int, worker: dict[str, Any]) -> None:
    assert ask(client, **worker).status_code == 204
    assert ask(client, "request-2", id="w2").json()["trial_id"] == trial_id


def test_nothing_is_leased_of_a_paused_search(client: httpx.Client, trial_id: int) -> None:
    client.post("/api/v1/searches/1/pause")
    assert ask(client).status_code == 204
    client.post("/api/v1/searches/1/resume")
    assert ask(client).json()["trial_id"] == trial_id


def test_a_faulty_request_is_refused_with_all_its_faults(client: httpx.Client) -> None:
    request = a_request().model_dump(mode="json") | {"request_id": "x", "wait_seconds": 3600}
    request["worker"] |= {"id": "", "datasets": {"digits": "md5:0"}}
    answer = client.post(LEASES, json=request)
    assert answer.status_code == 422
    fields = {fault["field"] for fault in answer.json()["faults"]}
    assert fields == {"request_id", "wait_seconds", "worker.id", "worker.datasets.digits"}


# ---- reporting


def test_a_report_continues_and_its_curve_can_be_read(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    epochs = [{"training": 0, "epoch": epoch, "metrics": {"psnr_db": 10.0 + epoch}} for epoch in (1, 2)]
    assert holder.report(1, reports=epochs[:1]).json() == {"action": "continue", "reason": None}
    assert holder.report(2, reports=epochs).status_code == 200  # the first epoch again: no harm
    assert client.get(f"/api/v1/trials/{trial_id}/reports").json() == {
        "trial_id": trial_id,
        "reports": epochs,
        "rungs": [],
    }


def test_a_report_hears_of_a_pause(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    client.post("/api/v1/searches/1/pause")
    assert holder.report().json() == {"action": "stop", "reason": "paused"}
    assert holder.release("paused").status_code == 204
    assert (trial(client, trial_id)["state"], trial(client, trial_id)["attempt"]) == ("queued", 0)


def test_a_report_hears_of_a_cancellation(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    client.post("/api/v1/searches/1/cancel")
    assert holder.report().json() == {"action": "stop", "reason": "cancelled"}
    assert holder.finish().status_code == 410
    assert trial(client, trial_id)["state"] == "cancelled"


def test_who_lost_the_lease_is_told_so_by_every_call(client: httpx.Client, trial_id: int) -> None:
    loser = Holder(client, "request-1")
    client.delete("/api/v1/workers/w1")
    winner = Holder(client, "request-2", id="w2")
    assert winner.lease["token"] == loser.lease["token"] + 1
    assert [answer.status_code for answer in loser.calls()] == [410] * 6
    assert "throw the work away" in loser.report().json()["error"]
    assert trial(client, trial_id)["worker_id"] == "w2"
    assert winner.finish().status_code == 200


def test_a_token_that_is_not_the_leases_is_stale(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    holder._token = {"Lease-Token": str(holder.lease["token"] + 1)}
    assert [answer.status_code for answer in holder.calls()] == [410] * 6
    assert trial(client, trial_id)["state"] == "leased"


def test_a_call_without_a_token_is_refused(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    holder._token = {}
    answer = holder.report()
    assert answer.status_code == 422
    assert answer.json()["faults"][0] == {"field": "Lease-Token", "value": None, "message": "Field required"}


# ---- ending


def test_a_result_ends_the_trial_once(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    first, again = holder.finish(20.0), holder.finish(20.0)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json() == trial(client, trial_id)
    assert first.json()["state"] == "completed"
    assert first.json()["metrics"]["eval"]["psnr_db"] == 20.0
    assert client.get("/api/v1/searches/1").json()["last_event"] == 4  # submitted, queued, leased, completed


def test_a_different_result_is_refused_and_the_first_one_stays(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    holder.finish(20.0)
    answer = holder.finish(21.0)
    assert answer.status_code == 409
    assert "has ended with another result; the first one stays" in answer.json()["error"]
    assert trial(client, trial_id)["metrics"]["eval"]["psnr_db"] == 20.0


def test_a_result_without_an_objectives_metric_is_refused(client: httpx.Client, trial_id: int) -> None:
    answer = Holder(client).finish(metrics={"eval": {"mse": 0.1}})
    assert answer.status_code == 422
    assert answer.json()["error"] == "the result lacks metrics.eval.psnr_db, an objective of the search"
    assert trial(client, trial_id)["state"] == "leased"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_metric_that_is_no_number_is_refused(client: httpx.Client, trial_id: int, value: float) -> None:
    holder = Holder(client)
    answer = holder.finish(metrics={"eval": {"psnr_db": value}})
    assert answer.status_code == 422
    assert answer.json()["faults"][0]["field"] == "metrics.eval.psnr_db"
    assert "finite" in answer.json()["error"]
    assert holder.finish().status_code == 200


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_environment_that_json_cannot_hold_is_refused(client: httpx.Client, trial_id: int, value: float) -> None:
    assert Holder(client).finish(environment={"load": value, "device": "cpu"}).status_code == 422


@pytest.mark.parametrize(
    "changes", [{"outcome": "failed"}, {"reason": "diverged"}, {"metrics": None}, {"outcome": "vanished"}]
)
def test_a_result_whose_parts_disagree_is_refused(client: httpx.Client, trial_id: int, changes: dict[str, Any]) -> None:
    assert Holder(client).finish(**changes).status_code == 422


def test_a_diverged_trial_spends_its_budget_and_an_error_does_not(client: httpx.Client, trial_id: int) -> None:
    failed = {"outcome": "failed", "metrics": None}
    Holder(client).finish(**failed, reason="diverged")
    assert trial(client, trial_id)["reason"] == "diverged"
    other = client.post(
        "/api/v1/searches/1/trials", json={"arm": "hourglass", "d_z": 66, "d_h": 8, "depth": 1, "lr": 1e-3}
    )
    Holder(client, "request-2").finish(**failed, reason="error", message="a bug")
    assert trial(client, other.json()["id"])["message"] == "a bug"
    arm = client.get("/api/v1/searches/1").json()["arms"][0]
    assert (arm["trials"]["failed"], arm["spent"]) == (2, 1)


# ---- giving back


def test_a_trial_given_back_waits_again_without_using_an_attempt(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    holder.report(1, reports=[{"training": 0, "epoch": 1, "metrics": {"psnr_db": 11.0}}])
    assert holder.release().status_code == 204
    back = trial(client, trial_id)
    assert (back["state"], back["attempt"], back["worker_id"], back["message"]) == ("queued", 0, None, "shutdown")
    assert client.get(f"/api/v1/trials/{trial_id}/reports").json()["reports"] == []
    assert Holder(client, "request-2").lease["token"] == 2


def test_a_goodbye_gives_back_all_that_the_worker_holds(
    client: httpx.Client, trial_id: int, database: Database
) -> None:
    other = enqueued(database, 1, d_h=9)
    Holder(client, "request-1")
    Holder(client, "request-2")
    (worker,) = client.get("/api/v1/workers").json()["items"]
    assert worker["trials"] == 2
    assert client.delete("/api/v1/workers/w1").status_code == 204
    assert {trial(client, held)["state"] for held in (trial_id, other)} == {"queued"}
    (worker,) = client.get("/api/v1/workers").json()["items"]
    assert (worker["alive"], worker["trials"]) == (False, 0)


def test_the_goodbye_of_a_stranger_is_no_error(client: httpx.Client) -> None:
    assert client.delete("/api/v1/workers/nobody").status_code == 204


def test_workers_are_listed_latest_arrival_first_page_by_page(client: httpx.Client) -> None:
    for name in ("w1", "w2", "w3"):
        ask(client, f"request-{name}", id=name)
    page = client.get("/api/v1/workers", params={"limit": 2}).json()
    rest = client.get("/api/v1/workers", params={"limit": 2, "cursor": page["next_cursor"]}).json()
    assert [worker["id"] for worker in page["items"] + rest["items"]] == ["w3", "w2", "w1"]
    assert rest["next_cursor"] is None
