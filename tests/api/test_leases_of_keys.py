"""A worker's key may touch only what is leased to it: another worker's key is answered as if the lease were lost."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nas_service.database import Database
from nas_service.database.workers import newest_workers
from nas_service.domain.digests import digest_of
from nas_service.domain.roles import ANYBODY_HERE
from nas_service.domain.states import TrialState
from nas_service.lifecycle.keys import own_key, revoke_key
from tests.acceptance.service import wait_until
from tests.builders import a_key, a_request, a_result, bearing, enqueued, serving, submitted

LEASES = "/api/v1/leases"
OWN = own_key()
CONTENT = b"weights"


@pytest.fixture
def client(database_url: str, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(database_url, tmp_path, OWN) as client:
        yield client


def lease(client: httpx.Client, key: str, request_id: str = "request-1", **worker: str) -> httpx.Response:
    asked = a_request(request_id, **worker).model_dump(mode="json")
    return client.post(LEASES, json=asked, headers=bearing(key))


def touch(client: httpx.Client, held: dict[str, object], key: str) -> list[httpx.Response]:
    """Every call that a lease's holder can make, the goodbye last."""
    path, headers = f"{LEASES}/{held['lease_id']}", bearing(key) | {"Lease-Token": str(held["token"])}
    upload = headers | {"Content-Digest": digest_of(CONTENT), "Content-Type": "application/octet-stream"}
    return [
        client.put(path, json={"step": 1}, headers=headers),
        client.put(f"{path}/checkpoint", content=CONTENT, headers=upload),
        client.get(f"{path}/checkpoint", headers=headers),
        client.put(f"{path}/network", content=CONTENT, headers=upload),
        client.post(f"{path}/result", json=a_result().model_dump(mode="json"), headers=headers),
        client.post(f"{path}/release", json={"reason": "shutdown"}, headers=headers),
        client.delete("/api/v1/workers/w1", headers=bearing(key)),
    ]


def state(client: httpx.Client, trial_id: int, admin: str) -> str:
    found: str = client.get(f"/api/v1/trials/{trial_id}", headers=bearing(admin)).json()["state"]
    return found


@pytest.mark.parametrize("stranger", ["another worker", "admin", "own"])
def test_another_key_can_touch_no_lease_even_with_its_id_and_token(
    client: httpx.Client, database: Database, stranger: str
) -> None:
    mine, admin = a_key(database, "worker", "a"), a_key(database, "admin")
    keys = {"another worker": a_key(database, "worker", "b"), "admin": admin, "own": OWN}
    trial_id = enqueued(database, submitted(database))
    held = lease(client, mine).json()
    *touched, dismissed = touch(client, held, keys[stranger])
    assert [answer.status_code for answer in touched] == [410] * 6
    assert dismissed.status_code == 404
    assert state(client, trial_id, admin) == TrialState.LEASED
    assert [answer.status_code for answer in touch(client, held, mine)] == [200, 204, 200, 204, 200, 204, 204]
    assert [answer.status_code for answer in touch(client, held, keys[stranger])][4] == 410  # the result once more


def test_what_the_services_own_workers_hold_is_theirs(client: httpx.Client, database: Database) -> None:
    other = a_key(database, "worker")
    enqueued(database, submitted(database))
    held = lease(client, OWN).json()
    assert {answer.status_code for answer in touch(client, held, other)} == {410, 404}
    assert touch(client, held, OWN)[4].status_code == 200


def test_another_key_cannot_take_over_a_workers_id_or_a_requests(client: httpx.Client, database: Database) -> None:
    mine, other = a_key(database, "worker", "a"), a_key(database, "worker", "b")
    enqueued(database, submitted(database))
    held = lease(client, mine).json()
    taken_id = lease(client, other, "request-2")
    assert (taken_id.status_code, "of another key" in taken_id.json()["error"]) == (409, True)
    assert lease(client, other, "request-1", id="w2").status_code == 409
    assert lease(client, mine).json() == held  # its own repeated request gets the lease again


def test_a_call_that_waits_gets_no_trial_once_its_key_is_revoked(served: str, database: Database) -> None:
    key, answers = a_key(database, "worker", "gpu"), []
    search_id = submitted(database)
    request = a_request().model_copy(update={"wait_seconds": 20}).model_dump(mode="json")

    def wait_for_a_trial() -> None:
        answers.append(httpx.post(f"{served}{LEASES}", json=request, headers=bearing(key), timeout=30))

    waiting = threading.Thread(target=wait_for_a_trial)
    waiting.start()
    wait_until(lambda: workers(database), 20, "the call waits")
    with database.write() as connection:
        revoke_key(connection, "gpu", ANYBODY_HERE)
    enqueued(database, search_id)  # wakes it
    waiting.join()
    assert [answer.status_code for answer in answers] == [401]


def workers(database: Database) -> int:
    with database.read() as connection:
        return len(newest_workers(connection, 10))
