"""The database away, the server away: nothing is restarted by hand and nothing that was trained is lost."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import httpx
import pytest

from nas_service.client import Client
from nas_service.database.events import events_after
from nas_service.domain.states import TrialState
from nas_service.messages import SearchDetail
from tests.acceptance.deployment import Deployment
from tests.builders import a_search
from tests.postgres import OwnPostgres

pytestmark = pytest.mark.slow

OFTEN = {"HOURGLASS_LEASE_SECONDS": "5", "HOURGLASS_HEARTBEAT_SECONDS": "0.5"}
HASTY = {"HOURGLASS_DATABASE_STATEMENT_SECONDS": "2", "HOURGLASS_DATABASE_CONNECT_SECONDS": "2"}
FEW_SECONDS = {"epochs": 150, "batch_size": 64}


@pytest.fixture
def postgres() -> Iterator[OwnPostgres]:
    postgres = OwnPostgres()
    yield postgres
    postgres.close()


@pytest.fixture
def deployment(tmp_path: Path, postgres: OwnPostgres) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path, postgres.url, **OFTEN, **HASTY)
    yield deployment
    deployment.close()


def leased(search: SearchDetail) -> int:
    return sum(arm.trials[TrialState.LEASED] for arm in search.arms)


def no_longer_than(seconds: float, url: str) -> httpx.Response:
    begun = monotonic()
    answer = httpx.get(url, timeout=60, trust_env=False)
    print(f"{url.rsplit('/', 1)[1]}: {answer.status_code} after {monotonic() - begun:.2f} s")
    assert monotonic() - begun < seconds
    return answer


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_a_database_that_goes_away_and_comes_back_costs_no_trial(
    deployment: Deployment, postgres: OwnPostgres, how: str
) -> None:
    deployment.start("scheduler")
    _, url = deployment.start_server()
    deployment.start("worker", "--server", url, "--device", "cpu")
    with Client(url) as client:
        search = client.submit(a_search(recipe=FEW_SECONDS, budget={"trials_per_arm": 2}))
        deployment.wait_for(lambda: leased(client.search(search.id)) == 1, 60, "the worker trains")
        postgres.kill() if how == "killed" else postgres.freeze()
        for path in ("/api/v1/searches", "/readyz"):
            refused = no_longer_than(20, url + path)
            assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
            assert "nothing of this call was stored" in refused.json()["error"]
        assert no_longer_than(5, f"{url}/healthz").status_code == 200
        deployment.wait_for(lambda: "result not delivered" in deployment.log, 90, "the trial ended meanwhile")
        postgres.start() if how == "killed" else postgres.thaw()
        deployment.wait_for(lambda: no_longer_than(60, f"{url}/readyz").status_code == 200, 60, "the server is ready")
        deployment.wait_for(lambda: client.search(search.id).state == "finished", 100, "the search is finished")
        trials = [trial for trial in client.trials(search.id) if trial.state is not TrialState.REFUSED]
    assert [(trial.state, trial.attempt) for trial in trials] == [(TrialState.COMPLETED, 0)] * 2
    with deployment.database.read() as connection:
        kinds = [event.kind for event in events_after(connection, search.id, 0)]
    assert (kinds.count("trial_completed"), kinds.count("trial_requeued")) == (2, 0)
    assert "the database is back" in deployment.log


def test_parts_started_before_their_database_wait_for_it(deployment: Deployment, postgres: OwnPostgres) -> None:
    postgres.kill()
    scheduler = deployment.start("scheduler")
    _, url = deployment.begin_server()
    deployment.wait_for(lambda: deployment.log.count("waiting for the database") == 2, 60, "both say that they wait")
    postgres.start()
    deployment.wait_for(lambda: answers(f"{url}/readyz"), 60, "the server is ready")
    deployment.wait_for(lambda: deployment.leader() == scheduler.pid, 60, "the scheduler leads")


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_result_outlives_the_server_and_the_worker_that_trained_it(tmp_path: Path, database_url: str) -> None:
    deployment = Deployment(tmp_path, database_url)
    try:
        deployment.start("scheduler")
        server, url = deployment.start_server()
        worker = deployment.start("worker", "--server", url, "--device", "cpu", "--name", "first")
        with Client(url) as client:
            search = client.submit(a_search(recipe=FEW_SECONDS, budget={"trials_per_arm": 1}))
            deployment.wait_for(lambda: leased(client.search(search.id)) == 1, 60, "the worker trains")
            server.kill()
            deployment.wait_for(lambda: "result not delivered, trying" in deployment.log, 60, "the trial ended")
            worker.terminate()
            assert worker.wait(30) == 0
            assert "result not delivered, ending" in deployment.log
            deployment.start("server", "--port", url.rsplit(":", 1)[1])
            deployment.start("worker", "--server", url, "--device", "cpu", "--name", "heir")
            deployment.wait_for(lambda: answers(f"{url}/readyz"), 60, "the server is back")
            deployment.wait_for(lambda: client.search(search.id).state == "finished", 60, "the search is finished")
            (trial,) = (trial for trial in client.trials(search.id) if trial.state is not TrialState.REFUSED)
            names = {worker.id: worker.name for worker in client.workers()}
        assert (trial.state, trial.attempt, names[trial.worker_id]) == (TrialState.COMPLETED, 0, "first")
        assert "delivering what an earlier worker left" in deployment.log
    finally:
        deployment.close()
