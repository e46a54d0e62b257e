"""A real trial whose objectives are all of what a device measures, against a served application."""

from collections.abc import Iterator

import pytest
import torch

from nas_service.client import WorkerClient
from nas_service.database import Database
from nas_service.database.searches import search_by_id
from nas_service.database.trials import trial_by_id
from nas_service.domain.states import FailureReason, TrialState
from nas_service.lifecycle.front import place_on_front
from nas_service.messages import Lease
from tests.builders import a_request, enqueued, submitted
from workers.bookshelf import Bookshelf
from workers.loop import device_name
from workers.trial import work_on

CPU = torch.device("cpu")


def never() -> bool:
    return False


@pytest.fixture
def client(served: str) -> Iterator[WorkerClient]:
    client = WorkerClient(served)
    yield client
    client.close()


def leased_with(database: Database, client: WorkerClient, *costs: str) -> Lease:
    """A lease on a trial of a search with these costs and PSNR."""
    objectives = [{"name": name, "reference": 1e15} for name in costs]
    search = {"objectives": [*objectives, {"name": "psnr_db"}], "device": "cpu"}
    enqueued(database, submitted(database, **search))
    lease = client.lease(a_request(device=device_name(CPU)))
    assert lease is not None
    return lease


@pytest.mark.parametrize(
    "costs",
    [("latency_ms", "latency_batch256_ms"), ("train_seconds", "peak_memory_bytes"), ("train_flops", "latency_ms")],
)
def test_a_trial_brings_the_costs_of_its_search(
    database: Database, client: WorkerClient, costs: tuple[str, ...]
) -> None:
    lease = leased_with(database, client, *costs)
    work_on(lease, client, Bookshelf(data_dir=None, fetch=False), CPU, never)
    with database.read() as connection:
        trial = trial_by_id(connection, lease.trial_id)
        search = search_by_id(connection, lease.search_id)
    assert trial.state is TrialState.COMPLETED, trial.message
    assert trial.on_front
    measured = trial.metrics["measured"]
    assert (
        {name for name in measured if not name.endswith("_iqr")} == set(lease.measure) == set(costs) - {"train_flops"}
    )
    assert all(value > 0 for name, value in measured.items() if not name.endswith("_iqr"))
    assert set(trial.metrics) == {"eval", "test", "measured"}
    assert trial.costs.train_flops == 6 * trial.costs.macs * 1078 * 2
    with database.write() as connection:
        assert place_on_front(connection, search, trial)[0]


def test_a_trial_whose_device_cannot_be_had_alone_fails_and_says_so(
    database: Database, client: WorkerClient, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    from workers.training import turns

    monkeypatch.setattr(turns, "OTHERS_SECONDS", 0.05)
    monkeypatch.setattr(turns.tempfile, "gettempdir", lambda: str(tmp_path))
    lease = leased_with(database, client, "latency_ms")
    with turns.Turns(CPU).training(never):  # another worker that never steps aside
        work_on(lease, client, Bookshelf(data_dir=None, fetch=False), CPU, never)
    with database.read() as connection:
        trial = trial_by_id(connection, lease.trial_id)
    assert (trial.state, trial.reason) == (TrialState.FAILED, FailureReason.ERROR)
    assert "did not let a cost be measured within" in trial.message
