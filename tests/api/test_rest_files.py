"""The files of a lease over REST: the trained network and the checkpoint."""

from pathlib import Path

import httpx
import pytest

from api.routes import leases
from nas_service.database import Database
from nas_service.domain.digests import digest_of
from tests.api.holder import NETWORK, Holder
from tests.builders import a_request, enqueued

# ---- the network


def test_the_network_of_a_front_trial_comes_back_byte_by_byte(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    assert holder.upload().status_code == 204
    holder.finish()
    answer = client.get(f"/api/v1/trials/{trial_id}/network")
    assert (answer.status_code, answer.content) == (200, NETWORK)
    assert f"trial-{trial_id}.safetensors" in answer.headers["Content-Disposition"]


def test_a_network_that_was_damaged_on_its_way_is_refused(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    answer = holder.upload(digest=digest_of(b"something else"))
    assert answer.status_code == 409
    assert "arrived damaged" in answer.json()["error"]
    assert "send it again" in answer.json()["error"]
    assert client.get(f"/api/v1/trials/{trial_id}/network").status_code == 404
    assert holder.upload().status_code == 204


def test_the_last_network_sent_is_the_one_kept(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    for content in (b"first", NETWORK, NETWORK):
        assert holder.upload(content).status_code == 204
    holder.finish()
    assert client.get(f"/api/v1/trials/{trial_id}/network").content == NETWORK


def test_a_network_that_never_was_on_the_front_is_not_kept(
    client: httpx.Client, trial_id: int, database: Database
) -> None:
    worse = enqueued(database, 1, d_h=9)  # larger and worse
    for request_id, content, psnr_db in (("request-1", NETWORK, 20.0), ("request-2", b"worse", 19.0)):
        holder = Holder(client, request_id)
        holder.upload(content)
        holder.finish(psnr_db)
    assert client.get(f"/api/v1/trials/{trial_id}/network").content == NETWORK
    assert client.get(f"/api/v1/trials/{worse}/network").status_code == 404


def test_a_network_is_pinned_and_unpinned_any_number_of_times(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    holder.upload()
    pin = f"/api/v1/trials/{trial_id}/network/pin"
    early = client.post(pin)
    assert (early.status_code, early.json()["error"]) == (
        409,
        f"trial {trial_id} is leased; only a completed one has a network to pin",
    )
    holder.finish()
    for call in (client.post, client.post, client.delete, client.delete):
        assert call(pin).status_code == 204
        assert client.get(f"/api/v1/trials/{trial_id}/network").content == NETWORK


def test_what_is_not_kept_cannot_be_pinned(client: httpx.Client, trial_id: int) -> None:
    Holder(client).finish()  # without a network
    for number in (trial_id, 99):
        for call in (client.post, client.delete):
            assert call(f"/api/v1/trials/{number}/network/pin").status_code == 404


# ---- the checkpoint


def test_a_checkpoint_goes_to_the_next_holder_byte_by_byte(client: httpx.Client, trial_id: int) -> None:
    first = Holder(client)
    assert first.lease["checkpoint"] is None
    assert first.lease["checkpoint_seconds"] == 60
    assert first.checkpoint().status_code == 404
    for content in (b"older", NETWORK):
        assert first.send_checkpoint(content).status_code == 204
    first.release()
    second = Holder(client, "request-2")
    assert second.lease["checkpoint"] == digest_of(NETWORK)
    assert (second.checkpoint().status_code, second.checkpoint().content) == (200, NETWORK)


def test_a_checkpoint_that_was_damaged_on_its_way_is_refused(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    answer = holder.send_checkpoint(digest=digest_of(b"something else"))
    assert answer.status_code == 409
    assert "arrived damaged" in answer.json()["error"]
    assert holder.checkpoint().status_code == 404


def test_a_checkpoint_of_an_ended_trial_is_neither_taken_nor_given(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    holder.send_checkpoint()
    holder.finish()
    assert (holder.send_checkpoint().status_code, holder.checkpoint().status_code) == (410, 410)


def test_a_checkpoint_lost_from_the_store_is_said_to_be_missing(
    client: httpx.Client, trial_id: int, tmp_path: Path
) -> None:
    holder = Holder(client)
    holder.send_checkpoint()
    for file in tmp_path.rglob("*.checkpoint"):
        file.unlink()
    assert holder.checkpoint().status_code == 404
    assert "is missing from the artifact store" in holder.checkpoint().json()["error"]


def test_a_network_lost_from_the_store_is_said_to_be_missing(
    client: httpx.Client, trial_id: int, tmp_path: Path
) -> None:
    holder = Holder(client)
    holder.upload()
    holder.finish()
    for file in tmp_path.rglob("*.safetensors"):
        file.unlink()
    answer = client.get(f"/api/v1/trials/{trial_id}/network")
    assert answer.status_code == 404
    assert "is missing from the artifact store" in answer.json()["error"]


def test_a_network_after_the_result_is_too_late(client: httpx.Client, trial_id: int) -> None:
    holder = Holder(client)
    holder.finish()
    assert holder.upload().status_code == 410


@pytest.mark.parametrize("worker", [{"problems": {"digits": "broken"}}, {"datasets": {"digits": f"sha256:{'0' * 64}"}}])
def test_a_worker_is_not_woken_again_and_again_for_a_trial_that_it_cannot_train(
    client: httpx.Client, trial_id: int, monkeypatch: pytest.MonkeyPatch, worker: dict
) -> None:
    tries = []
    try_lease = leases._try_lease
    monkeypatch.setattr(leases, "_try_lease", lambda *given: tries.append(1) or try_lease(*given))
    request = a_request(**worker).model_dump(mode="json") | {"wait_seconds": 0.5}
    assert client.post("/api/v1/leases", json=request).status_code == 204
    assert len(tries) == 1
