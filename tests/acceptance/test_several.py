"""Several schedulers and servers as real processes on one database: one leads, all serve."""

import signal
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from nas_service.client import Client
from nas_service.database import Database
from nas_service.database.events import events_after
from nas_service.database.searches import search_by_id
from nas_service.database.trials import newest_trials
from nas_service.domain.states import TrialState
from tests.acceptance.deployment import Deployment, Process
from tests.builders import a_search, submitted

pytestmark = pytest.mark.slow


@pytest.fixture
def deployment(tmp_path: Path, postgres_database: Database) -> Iterator[Deployment]:
    deployment = Deployment(tmp_path, postgres_database.url)
    yield deployment
    deployment.close()


def two_schedulers(deployment: Deployment) -> tuple[Process, Process]:
    """Two schedulers of which the first one leads."""
    first = deployment.start("scheduler")
    deployment.wait_for(lambda: deployment.leader() == first.pid, 60, "the first scheduler leads")
    second = deployment.start("scheduler")
    deployment.wait_for(lambda: "waiting for its end" in deployment.log, 60, "the second one says that it waits")
    return first, second


def queued(database: Database, search_id: int) -> int:
    with database.read() as connection:
        return len(newest_trials(connection, search_id, 100, state=TrialState.QUEUED))


def test_a_killed_leader_is_replaced_within_ten_seconds(tmp_path: Path, each_database: Database) -> None:
    deployment = Deployment(tmp_path, each_database.url)
    try:
        first, second = two_schedulers(deployment)
        first.kill()
        killed_at = monotonic()
        search_id = submitted(each_database)
        deployment.wait_for(lambda: queued(each_database, search_id) == 1, 30, "the second one works")
        seconds = monotonic() - killed_at
        print(f"\nthe second scheduler worked {seconds:.1f} s after the first one was killed")
        assert deployment.leader() == second.pid
        assert seconds < 10
        assert deployment.log.count("waiting for its end") == 1
    finally:
        deployment.close()


def test_a_leader_told_to_end_hands_over_at_once(deployment: Deployment) -> None:
    first, second = two_schedulers(deployment)
    first.terminate()
    assert first.wait(20) == 0
    ended_at = monotonic()
    deployment.wait_for(lambda: deployment.leader() == second.pid, 5, "the second one leads")
    print(f"\nthe second scheduler led {monotonic() - ended_at:.1f} s after the first one ended")


def test_a_leader_frozen_for_longer_than_its_lease_follows_and_may_lead_again(deployment: Deployment) -> None:
    first, second = two_schedulers(deployment)
    first.send_signal(signal.SIGSTOP)
    deployment.wait_for(lambda: deployment.leader() == second.pid, 60, "the second one leads")
    first.send_signal(signal.SIGCONT)
    deployment.wait_for(lambda: deployment.log.count("waiting for its end") == 2, 20, "the first one follows")
    assert deployment.leader() == second.pid
    second.terminate()
    deployment.wait_for(lambda: deployment.leader() == first.pid, 30, "the first one leads again")
    search_id = submitted(deployment.database)
    deployment.wait_for(lambda: queued(deployment.database, search_id) == 1, 20, "it works")


def test_two_servers_with_a_worker_each_finish_one_search(deployment: Deployment) -> None:
    deployment.start("scheduler")
    deployment.start("scheduler")
    urls = [deployment.start_server()[1] for _ in range(2)]
    for url in urls:
        deployment.start("worker", "--server", url, "--device", "cpu")
    with Client(urls[0]) as first, Client(urls[1]) as second:
        search = first.submit(a_search(budget={"trials_per_arm": 12}))
        deployment.wait_for(lambda: second.search(search.id).state == "finished", 100, "the search is finished")
        trials = [trial for trial in second.trials(search.id) if trial.state is TrialState.COMPLETED]
    assert len(trials) == 12
    assert len({trial.worker_id for trial in trials}) == 2
    with deployment.database.read() as connection:
        events = events_after(connection, search.id, 0)
        assert [event.number for event in events] == list(range(1, search_by_id(connection, search.id).last_event + 1))
    assert sum(event.kind == "trial_completed" for event in events) == 12
