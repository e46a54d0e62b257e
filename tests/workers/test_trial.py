"""One leased trial against a served application: every way in which it can end."""

import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_service.client import WorkerClient
from nas_service.database import Database
from nas_service.database.events import events_after
from nas_service.database.reports import reports_of_trial
from nas_service.database.trials import trial_by_id
from nas_service.domain.states import FailureReason, TrialState
from nas_service.domain.stopping import FEWEST_PEERS
from nas_service.domain.trial import Trial
from nas_service.lifecycle import control
from nas_service.lifecycle.overview import detail_of
from nas_service.messages import Lease, Release
from tests.builders import ARMS, a_request, enqueued, submitted
from workers import trial as worker_trial
from workers.bookshelf import Bookshelf
from workers.training.network_file import load_network
from workers.training.train import Diverged
from workers.trial import work_on

CPU = torch.device("cpu")
LONG = {"epochs": 10_000, "batch_size": 16}


@pytest.fixture
def shelf() -> Bookshelf:
    return Bookshelf(data_dir=None, fetch=False)


def a_lease(database: Database, client: WorkerClient, **search: object) -> Lease:
    """Submit a search, enqueue one trial in it and lease that."""
    enqueued(database, submitted(database, **search))
    lease = client.lease(a_request())
    assert lease is not None
    return lease


def never() -> bool:
    return False


def end_of(database: Database, lease: Lease) -> Trial:
    with database.read() as connection:
        trial = trial_by_id(connection, lease.trial_id)
    assert trial is not None
    return trial


def test_a_trained_trial_is_completed_with_its_metrics_curve_and_network(
    database: Database, client: WorkerClient, shelf: Bookshelf, served: str
) -> None:
    from nas_service.client import Client

    lease = a_lease(database, client, arms={"hourglass": FIXED})
    work_on(lease, client, shelf, CPU, never)
    trial = end_of(database, lease)
    assert trial.state is TrialState.COMPLETED
    assert 5 < trial.metrics["eval"]["psnr_db"] < 30
    assert set(trial.metrics) == {"eval", "test"}
    assert trial.epochs_done == lease.recipe.epochs
    assert trial.environment["device"]
    with Client(served) as people:
        assert load_network(people.network(trial.id)).projection_hashes == (trial.projection_hash,)


FIXED = {
    "family": "hourglass",
    "w_in": "fixed_gaussian",
    "d_z": [65, 128],
    "d_h": [4, 32],
    "depth": [1, 4],
    "lr": [1e-3, 1e-2],
}


def test_replicates_and_several_learning_rates_are_all_stored_and_the_best_mean_counts(
    database: Database, client: WorkerClient, shelf: Bookshelf
) -> None:
    arm = {**FIXED, "w_in": "learned", "lr": [1e-5, 3e-3, 4e-3]}
    search_id = submitted(database, arms={"hourglass": arm}, recipe={"epochs": 2, "batch_size": 128, "replicates": 2})
    enqueued(database, search_id, lr=None)
    lease = client.lease(a_request())
    work_on(lease, client, shelf, CPU, never)
    trial = end_of(database, lease)
    assert [(row["lr"], row["seed"]) for row in trial.replicates] == [
        (lr, seed) for lr in (1e-5, 3e-3, 4e-3) for seed in (42, 43)
    ]
    means = {
        lr: sum(row["metrics"]["eval"]["psnr_db"] for row in trial.replicates if row["lr"] == lr) / 2
        for lr in (1e-5, 3e-3, 4e-3)
    }
    assert trial.lr == max(means, key=means.get)
    assert trial.metrics["eval"]["psnr_db"] == pytest.approx(means[trial.lr])


def test_a_missing_dataset_gives_the_trial_back_and_the_searchs_page_says_why(
    database: Database, client: WorkerClient, tmp_path: Path
) -> None:
    shelf = Bookshelf(data_dir=tmp_path, fetch=False)
    enqueued(database, search_id := submitted(database, dataset={"name": "mnist"}, arms={"hourglass": WIDE}), d_z=800)
    lease = client.lease(a_request(datasets={"mnist": None}))
    work_on(lease, client, shelf, CPU, never)
    assert (end_of(database, lease).state, end_of(database, lease).attempt) == (TrialState.QUEUED, 0)
    again = a_request("request-2", datasets={**shelf.offered, "mnist": None}, problems=shelf.problems)
    assert client.lease(again) is None
    with database.read() as connection:
        search = detail_of(connection, control.require_search(connection, search_id))
    assert "no live worker can read mnist" in search.waiting_because
    assert "or allow fetching" in search.waiting_because


WIDE = {"family": "hourglass", "d_z": [785, 900], "d_h": [4, 32], "depth": 1, "lr": [1e-3, 1e-2]}


def test_other_images_under_the_same_name_give_the_trial_back_and_are_offered_no_more(
    database: Database, client: WorkerClient, shelf: Bookshelf
) -> None:
    digest = f"sha256:{'1' * 64}"
    lease = a_lease(database, client, dataset={"name": "digits", "digest": digest})
    work_on(lease, client, shelf, CPU, never)
    assert (end_of(database, lease).state, end_of(database, lease).attempt) == (TrialState.QUEUED, 0)
    assert shelf.problems == {}
    assert shelf.offered["digits"] not in (None, digest)
    assert client.lease(a_request("request-2", datasets=shelf.offered)) is None


@pytest.mark.parametrize(
    ("dataset", "task", "why"),
    [
        ({"image_shape": [1, 8, 8]}, {"kind": "generative_classification"}, "has no labels"),
        ({"image_shape": [1, 4, 16]}, {"kind": "denoising"}, "expected image_shape"),
        ({"image_shape": [1, 8, 8], "classes": 7}, {"kind": "denoising"}, "the search states 7"),
    ],
)
def test_data_of_no_use_to_one_search_ends_its_trial_and_is_still_offered_to_others(
    database: Database, client: WorkerClient, tmp_path: Path, dataset: dict, task: dict, why: str
) -> None:
    np.savez(tmp_path / "own.npz", images=np.arange(20 * 64, dtype=np.uint8).reshape(20, 8, 8))
    shelf = Bookshelf(data_dir=tmp_path, fetch=False)
    enqueued(database, submitted(database, dataset={"path": "npz:own.npz", **dataset}, task=task))
    lease = client.lease(a_request(datasets=shelf.offered))
    work_on(lease, client, shelf, CPU, never)
    trial = end_of(database, lease)
    assert (trial.state, trial.reason) == (TrialState.FAILED, FailureReason.DATASET)
    assert why in trial.message
    assert shelf.problems == {}


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Diverged(3), FailureReason.DIVERGED),
        (torch.OutOfMemoryError("no 8 GB left"), FailureReason.OUT_OF_MEMORY),
        (RuntimeError("boom"), FailureReason.ERROR),
    ],
)
def test_what_goes_wrong_in_training_is_the_trials_end_and_the_worker_lives_on(
    database: Database,
    client: WorkerClient,
    shelf: Bookshelf,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: FailureReason,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(worker_trial, "run_trial", fails)
    lease = a_lease(database, client)
    work_on(lease, client, shelf, CPU, never)
    trial = end_of(database, lease)
    assert (trial.state, trial.reason) == (TrialState.FAILED, reason)
    assert str(error) in trial.message


def test_shutting_down_gives_the_trial_back(database: Database, client: WorkerClient, shelf: Bookshelf) -> None:
    lease = a_lease(database, client, recipe=LONG)
    work_on(lease, client, shelf, CPU, lambda: True)
    assert (end_of(database, lease).state, end_of(database, lease).message) == (TrialState.QUEUED, "shutdown")


FEW_EPOCHS = {"epochs": 10, "batch_size": 16, "replicates": 2}


def uninterrupted(database: Database, client: WorkerClient, shelf: Bookshelf, recipe: dict) -> Trial:
    """How a trial as those of the tests ends when nothing comes between."""
    lease = a_lease(database, client, recipe=recipe)
    work_on(lease, client, shelf, CPU, never)
    with database.write() as connection:
        control.cancel(connection, lease.search_id)
    return end_of(database, lease)


def epochs_reported(database: Database, lease: Lease) -> list[tuple[int, int]]:
    with database.read() as connection:
        return [(row["training"], row["epoch"]) for row in reports_of_trial(connection, lease.trial_id)]


def test_a_worker_told_to_stop_leaves_a_checkpoint_and_the_next_one_ends_the_trial_with_the_same_bits(
    database: Database, client: WorkerClient, shelf: Bookshelf
) -> None:
    whole = uninterrupted(database, client, shelf, FEW_EPOCHS)
    lease = a_lease(database, client, recipe=FEW_EPOCHS)
    work_on(lease, client, shelf, CPU, lambda: len(epochs_reported(database, lease)) >= 4)
    before = epochs_reported(database, lease)
    assert 4 <= len(before) < 20
    heir = client.lease(a_request("request-2", id="w2"))
    assert (heir.trial_id, heir.token) == (lease.trial_id, lease.token + 1)
    work_on(heir, client, Bookshelf(data_dir=None, fetch=False), CPU, never)
    trial = end_of(database, heir)
    assert (trial.state, trial.metrics, trial.replicates) == (TrialState.COMPLETED, whole.metrics, whole.replicates)
    assert (trial.epochs_done, trial.attempt) == (whole.epochs_done, 0)
    assert trial.environment["resumed_from_epoch"] == len(before) / 2
    assert epochs_reported(database, heir) == [(training, epoch) for training in (0, 1) for epoch in range(1, 11)]


def test_a_worker_that_vanished_left_the_checkpoint_of_a_moment_before(
    database: Database, client: WorkerClient, shelf: Bookshelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = uninterrupted(database, client, shelf, FEW_EPOCHS)
    lease = a_lease(database, client, recipe=FEW_EPOCHS).model_copy(update={"checkpoint_seconds": 0.05})
    monkeypatch.setattr(worker_trial, "_stop", lambda *_: None)  # neither a last checkpoint nor a release
    work_on(lease, client, shelf, CPU, lambda: any(tmp_path.rglob("*.checkpoint")))
    monkeypatch.undo()
    client.say_goodbye("w1")  # instead of the lease's end
    heir = client.lease(a_request("request-2", id="w2"))
    work_on(heir, client, shelf, CPU, never)
    trial = end_of(database, heir)
    assert (trial.metrics, trial.replicates) == (whole.metrics, whole.replicates)
    assert 0 < trial.environment["resumed_from_epoch"] < 10
    assert len(epochs_reported(database, heir)) == 20


@pytest.mark.parametrize("state", [b"not a checkpoint", None])
def test_a_checkpoint_that_is_broken_or_gone_means_training_from_the_beginning(
    database: Database, client: WorkerClient, shelf: Bookshelf, tmp_path: Path, state: bytes | None
) -> None:
    whole = uninterrupted(database, client, shelf, {"epochs": 2})
    lease = a_lease(database, client, recipe={"epochs": 2})
    client.send_checkpoint(lease, state or b"lost")
    client.release(lease, Release(reason="shutdown"))
    if state is None:
        for file in tmp_path.rglob("*.checkpoint"):
            file.unlink()
    heir = client.lease(a_request("request-2", id="w2"))
    assert heir.checkpoint is not None
    work_on(heir, client, shelf, CPU, never)
    trial = end_of(database, heir)
    assert (trial.state, trial.metrics) == (TrialState.COMPLETED, whole.metrics)
    assert "resumed_from_epoch" not in trial.environment


def test_a_trial_trains_by_the_transfer_rule_of_its_search_and_keeps_its_own_rate(
    database: Database, client: WorkerClient, shelf: Bookshelf
) -> None:
    arm = ARMS["hourglass"] | {"branch_scale": "1/sqrt(depth)"}
    lease = a_lease(database, client, arms={"hourglass": arm}, lr_transfer="width_depth")
    work_on(lease, client, shelf, CPU, never)
    trial = end_of(database, lease)
    assert trial.environment["lr_transfer"] == "width_depth"
    assert trial.lr == lease.lr


def test_a_trial_that_is_dominated_at_a_rung_ends_there_as_stopped(
    database: Database, client: WorkerClient, shelf: Bookshelf
) -> None:
    halving = {"stopping": "halving", "recipe": {"epochs": 9, "batch_size": 64, "replicates": 2}}  # rungs: 1 and 3
    search_id = submitted(database, budget={"epochs_per_arm": 10_000}, **halving)
    leases = []
    for number in range(FEWEST_PEERS + 1):  # the last one is the largest, and hardly learns
        sizes = {"d_z": 120, "d_h": 32, "lr": 1e-3} if number == FEWEST_PEERS else {"d_z": 80 + number, "lr": 9e-3}
        enqueued(database, search_id, **sizes)
        leases.append(client.lease(a_request(f"request-{number}")))
        work_on(leases[-1], client, shelf, CPU, never)
    *others, last = (end_of(database, lease) for lease in leases)
    assert {trial.state for trial in others} == {TrialState.COMPLETED}
    assert (last.state, last.epochs_done, last.metrics) == (TrialState.STOPPED, 2, None)
    assert last.message.startswith("after epoch 1: dominated by 3 of the 3 trials")
    assert last.seconds > 0
    assert last.environment["device"]
    assert epochs_reported(database, leases[-1]) == [(0, 1), (1, 1)]


@pytest.mark.parametrize(
    ("verb", "state"), [(control.pause, TrialState.QUEUED), (control.cancel, TrialState.CANCELLED)]
)
def test_a_search_paused_or_cancelled_while_it_trains_ends_the_training(
    database: Database, client: WorkerClient, shelf: Bookshelf, verb, state: TrialState
) -> None:
    lease = a_lease(database, client, recipe=LONG)
    training = threading.Thread(target=work_on, args=(lease, client, shelf, CPU, never))
    training.start()
    with database.write() as connection:
        verb(connection, lease.search_id)
    training.join(20)
    assert not training.is_alive()
    assert end_of(database, lease).state is state


def test_a_worker_that_lost_its_lease_throws_its_work_away(
    database: Database, client: WorkerClient, shelf: Bookshelf
) -> None:
    lease = a_lease(database, client)
    stale = lease.model_copy(update={"token": lease.token - 1})
    work_on(stale, client, shelf, CPU, never)
    assert end_of(database, lease).state is TrialState.LEASED
    with database.read() as connection:
        kinds = [event.kind for event in events_after(connection, lease.search_id, 0)]
    assert "trial_completed" not in kinds
