import json

import pytest
from typer.testing import CliRunner

from nas_service.cli import app
from nas_service.client import ApiError, WorkerClient
from nas_service.database import Database
from nas_service.domain.tasks import task_shape
from tests.builders import a_request, a_result, enqueued, submitted
from workers.training.network import Network
from workers.training.network_file import save_network


@pytest.fixture
def server(served: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOURGLASS_SERVER", served)
    monkeypatch.setenv("COLUMNS", "120")
    return served


@pytest.fixture
def trial_id(server: str, database: Database) -> int:
    """A completed trial of the digits whose network, an untrained one, is kept."""
    enqueued(database, submitted(database), d_z=70, d_h=8, depth=2)
    worker = WorkerClient(server)
    lease = worker.lease(a_request())
    assert lease is not None
    network = Network(lease.architecture, task_shape(lease.task, lease.dataset), lease.seed)
    worker.send_network(lease, save_network(network))
    worker.send_result(lease, a_result(20.0))
    worker.close()
    return lease.trial_id


def test_a_table_tells_what_each_block_adds(trial_id: int) -> None:
    result = CliRunner().invoke(app, ["diagnose", str(trial_id)], catch_exceptions=False)

    assert result.exit_code == 0
    assert f"trial {trial_id}: hourglass 70/8 x2" in result.output
    assert "of 8" in result.output


def test_json_carries_every_number(trial_id: int) -> None:
    result = CliRunner().invoke(app, ["diagnose", str(trial_id), "--json"], catch_exceptions=False)
    found = json.loads(result.stdout)

    assert (found["trial"], len(found["blocks"])) == (trial_id, 2)
    assert found["psnr_db"] == found["blocks"][-1]["psnr_db"]


def test_a_trial_whose_network_is_not_kept_is_named(server: str, database: Database) -> None:
    trial_id = enqueued(database, submitted(database))

    with pytest.raises(ApiError, match=f"no network of trial {trial_id}"):
        CliRunner().invoke(app, ["diagnose", str(trial_id)], catch_exceptions=False)
