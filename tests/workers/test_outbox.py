"""Results that wait for the server: kept, delivered by whoever comes next, thrown away when nobody wants them."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from nas_service.client import WorkerClient
from nas_service.database import Database
from nas_service.database.trials import trial_by_id
from nas_service.domain.states import FailureReason, TrialState
from nas_service.domain.trial import Trial
from nas_service.lifecycle.lease import dismiss
from nas_service.messages import Lease
from tests.builders import a_request, a_result, enqueued, submitted
from workers.outbox import Kept, Outbox

NETWORK = b"weights" * 1000


@pytest.fixture
def away() -> Iterator[WorkerClient]:
    """The way to a server that is not there."""
    client = WorkerClient("http://127.0.0.1:9")
    yield client
    client.close()


@pytest.fixture
def lease(database: Database, client: WorkerClient) -> Lease:
    enqueued(database, submitted(database, keep_networks="all"))
    return client.lease(a_request())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "results"


def files_in(root: Path) -> list[str]:
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")


def trial_of(database: Database, lease: Lease) -> Trial:
    with database.read() as connection:
        return trial_by_id(connection, lease.trial_id)


def left_behind(root: Path, lease: Lease, client: WorkerClient, away: WorkerClient) -> None:
    """A worker trained the trial, found no server, and was told to end."""
    box = Outbox(root)
    box.deliver(away, box.keep(client.server, lease, a_result(), NETWORK), give_up=lambda: True)
    assert box.holds_back
    box.close()


def delivered(box: Outbox, client: WorkerClient) -> list[Kept]:
    found = list(box.left(client.server))
    for kept in found:
        box.deliver(client, kept, give_up=lambda: False)
    return found


def test_a_delivered_result_leaves_nothing_on_the_disk(
    database: Database, root: Path, client: WorkerClient, lease: Lease
) -> None:
    box = Outbox(root)
    kept = box.keep(client.server, lease, a_result(), NETWORK)
    assert files_in(root) == ["letter.json", "network.safetensors"]
    box.deliver(client, kept, give_up=lambda: False)
    assert trial_of(database, lease).state is TrialState.COMPLETED
    assert files_in(root) == []
    box.close()
    assert list(root.iterdir()) == []


def test_the_next_worker_delivers_what_one_left_when_the_server_was_away(
    database: Database, root: Path, client: WorkerClient, away: WorkerClient, lease: Lease
) -> None:
    left_behind(root, lease, client, away)
    heir = Outbox(root)
    (kept,) = delivered(heir, client)
    assert kept.network == NETWORK
    assert trial_of(database, lease).state is TrialState.COMPLETED
    assert files_in(root) == []
    heir.close()


def test_a_living_worker_keeps_what_is_its_own(root: Path, client: WorkerClient, lease: Lease) -> None:
    living = Outbox(root)
    living.keep(client.server, lease, a_result(), None)
    other = Outbox(root)
    assert list(other.left(client.server)) == []
    living.close()  # it ended without delivering
    other.close()
    assert len(list(Outbox(root).left(client.server))) == 1


def test_what_is_for_another_server_stays(root: Path, client: WorkerClient, away: WorkerClient, lease: Lease) -> None:
    left_behind(root, lease, client, away)
    assert delivered(Outbox(root), away) == []
    assert files_in(root) == ["letter.json", "network.safetensors"]


def test_a_result_whose_lease_is_lost_is_thrown_away_and_the_log_says_so(
    database: Database, root: Path, client: WorkerClient, lease: Lease
) -> None:
    with database.write() as connection:
        dismiss(connection, "w1")
    box = Outbox(root)
    with capture_logs() as lines:
        box.deliver(client, box.keep(client.server, lease, a_result(), NETWORK), give_up=lambda: False)
    assert [(line["event"], line["trial"]) for line in lines] == [("lease lost, work thrown away", lease.trial_id)]
    assert trial_of(database, lease).state is TrialState.QUEUED
    assert files_in(root) == []


def test_a_result_that_had_arrived_before_its_answer_was_lost_is_accepted_again(
    database: Database, root: Path, client: WorkerClient, away: WorkerClient, lease: Lease
) -> None:
    left_behind(root, lease, client, away)
    client.send_network(lease, NETWORK)
    client.send_result(lease, a_result())
    with capture_logs() as lines:
        assert len(delivered(Outbox(root), client)) == 1
    assert not [line for line in lines if line["log_level"] != "info"]
    assert trial_of(database, lease).state is TrialState.COMPLETED
    assert files_in(root) == []


def test_a_result_that_the_server_has_no_use_for_ends_its_trial_with_the_reason(
    database: Database, root: Path, client: WorkerClient, lease: Lease
) -> None:
    box = Outbox(root)
    useless = a_result(metrics={"eval": {"mse": 0.1}})
    box.deliver(client, box.keep(client.server, lease, useless, None), give_up=lambda: False)
    trial = trial_of(database, lease)
    assert (trial.state, trial.reason) == (TrialState.FAILED, FailureReason.ERROR)
    assert trial.message.startswith("the server refused the result: the result lacks metrics.eval.psnr_db")
    assert files_in(root) == []


def test_a_full_disk_keeps_no_result_from_the_server(
    database: Database, root: Path, client: WorkerClient, lease: Lease, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = Outbox(root)

    def is_full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", is_full)
        kept = box.keep(client.server, lease, a_result(), NETWORK)
    assert files_in(root) == []
    box.deliver(client, kept, give_up=lambda: False)
    assert trial_of(database, lease).state is TrialState.COMPLETED


def test_a_folder_that_cannot_be_used_stops_no_worker(
    database: Database, tmp_path: Path, client: WorkerClient, lease: Lease
) -> None:
    (tmp_path / "file").write_text("")
    box = Outbox(tmp_path / "file")
    box.deliver(client, box.keep(client.server, lease, a_result(), None), give_up=lambda: False)
    assert trial_of(database, lease).state is TrialState.COMPLETED
    box.close()


def test_what_is_too_old_is_removed(root: Path, client: WorkerClient, away: WorkerClient, lease: Lease) -> None:
    left_behind(root, lease, client, away)
    (letter,) = root.glob("*/trial-*")
    os.utime(letter, (0, 0))
    assert list(Outbox(root).left(client.server)) == []
    assert files_in(root) == []


def test_what_was_not_written_to_its_end_is_cleared_away(root: Path, client: WorkerClient) -> None:
    (root / "dead" / "trial-1-1.part").mkdir(parents=True)
    (root / "dead" / "trial-1-1.part" / "letter.json").write_text("{")
    box = Outbox(root)
    assert list(box.left(client.server)) == []
    assert files_in(root) == []
