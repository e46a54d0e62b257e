"""Workers that die, freeze or lose their trial, as real processes."""

import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, time

import pytest

from nas_service.client import Client
from nas_service.database.events import events_after
from nas_service.domain.states import TrialState
from nas_service.domain.trial import Trial
from nas_service.messages import SearchDetail
from tests.acceptance.deployment import Deployment
from tests.builders import a_search

pytestmark = pytest.mark.slow

LONG = {"epochs": 10_000, "batch_size": 16}
LEASE_SECONDS = 3


@pytest.fixture
def deployment(tmp_path: Path, database_url: str) -> Iterator[Deployment]:
    lease = {"HOURGLASS_LEASE_SECONDS": str(LEASE_SECONDS), "HOURGLASS_HEARTBEAT_SECONDS": "0.5"}
    deployment = Deployment(tmp_path, database_url, **lease)
    deployment.start("scheduler")
    yield deployment
    deployment.close()


@pytest.fixture
def client(deployment: Deployment) -> Iterator[Client]:
    _, url = deployment.start_server()
    with Client(url) as client:
        yield client


def leased(search: SearchDetail) -> int:
    return sum(arm.trials[TrialState.LEASED] for arm in search.arms)


def first_trial(client: Client, search_id: int) -> Trial:
    return next(trial for trial in client.trials(search_id) if trial.number == 0)


def test_a_trial_that_kills_three_workers_is_poison(deployment: Deployment, client: Client) -> None:
    search = client.submit(a_search(recipe=LONG, budget={"trials_per_arm": 1}, max_failures=0))
    for killed in range(1, 4):
        worker = deployment.start("worker", "--server", client.server, "--device", "cpu")
        deployment.wait_for(lambda: leased(client.search(search.id)) == 1, 60, "the worker has the trial")
        worker.kill()
        killed_at = time()
        deployment.wait_for(lambda: leased(client.search(search.id)) == 0, 30, "the trial is taken back")
        seconds = taken_back_at(deployment, search.id) - killed_at
        print(f"\ntrial of killed worker {killed} taken back after {seconds:.1f} s, its lease being {LEASE_SECONDS} s")
        assert seconds < LEASE_SECONDS + 5
    trial = first_trial(client, search.id)
    assert (trial.state, trial.reason) == (TrialState.FAILED, "poison")
    assert trial.message == "3 workers lost it; the last one was not heard of in time"
    assert client.search(search.id).state == "failed"


def taken_back_at(deployment: Deployment, search_id: int) -> float:
    """When the newest event tells that the trial was taken back."""
    with deployment.database.read() as connection:
        events = events_after(connection, search_id, 0)
    return max(event.at for event in events if event.kind in ("trial_requeued", "trial_failed")).timestamp()


def test_a_worker_frozen_for_longer_than_its_lease_throws_its_work_away(deployment: Deployment, client: Client) -> None:
    frozen = deployment.start("worker", "--server", client.server, "--device", "cpu", "--name", "frozen")
    search = client.submit(a_search(recipe={"epochs": 400, "batch_size": 64}, budget={"trials_per_arm": 1}))
    deployment.wait_for(lambda: leased(client.search(search.id)) == 1, 60, "the worker has the trial")
    frozen.send_signal(signal.SIGSTOP)
    deployment.wait_for(lambda: leased(client.search(search.id)) == 0, 30, "the trial is taken back")
    deployment.start("worker", "--server", client.server, "--device", "cpu", "--name", "heir")
    deployment.wait_for(lambda: leased(client.search(search.id)) == 1, 60, "the heir has the trial")
    frozen.send_signal(signal.SIGCONT)
    begun = monotonic()
    deployment.wait_for(lambda: "lease lost, work thrown away" in deployment.log, 20, "the frozen one says so")
    print(f"\nthe frozen worker threw its work away {monotonic() - begun:.1f} s after it went on")
    deployment.wait_for(lambda: client.search(search.id).state == "finished", 100, "the heir finishes it")
    trial = first_trial(client, search.id)
    names = {worker.id: worker.name for worker in client.workers()}
    assert (trial.state, trial.attempt, names[trial.worker_id]) == (TrialState.COMPLETED, 1, "heir")
    assert frozen.poll() is None
