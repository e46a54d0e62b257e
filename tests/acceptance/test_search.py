"""The main job with real processes: a search over HTTP, trained by workers, on real handwriting."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml

from nas_service.domain.costs import Costs, known_costs
from nas_service.domain.states import TrialState
from nas_service.domain.trial import Trial, duplicate_key
from nas_service.messages import Enqueue
from tests.acceptance.service import Service, wait_until

FOUR_ARMS = yaml.safe_load((Path(__file__).parents[2] / "examples" / "digits_denoising.yaml").read_text())
LONG = {**FOUR_ARMS, "recipe": {"epochs": 400, "batch_size": 32}, "budget": {"trials_per_arm": 1}}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    often = {"HOURGLASS_HEARTBEAT_SECONDS": "0.5", "HOURGLASS_CHECKPOINT_SECONDS": "0.5"}
    service = Service(tmp_path, HOURGLASS_LEASE_SECONDS="4", **often)
    yield service
    service.close()


def short(**changes: object) -> dict[str, object]:
    return {**FOUR_ARMS, "recipe": {"epochs": 2, "batch_size": 64}, "budget": {"trials_per_arm": 5}, **changes}


def leased(search) -> int:
    return sum(arm.trials[TrialState.LEASED] for arm in search.arms)


def is_dominated(trial: Trial, others: list[Trial]) -> bool:
    def point(one: Trial) -> tuple[float, float]:
        return (one.costs.parameters_trainable, -one.metrics["eval"]["psnr_db"])

    mine = point(trial)
    return any(point(other) != mine and point(other)[0] <= mine[0] and point(other)[1] <= mine[1] for other in others)


def test_a_search_submitted_over_http_is_trained_by_two_workers_and_its_fronts_are_right(service: Service) -> None:
    for _ in range(2):
        service.start_worker()
    search = service.client.submit(short())
    service.wait_for(search.id, lambda now: now.state == "finished", 100, "the search is finished")

    trials = [trial for trial in service.client.trials(search.id) if trial.state is not TrialState.REFUSED]
    front = service.client.front(search.id)
    assert {arm: sum(trial.arm == arm for trial in trials) for arm in FOUR_ARMS["arms"]} == dict.fromkeys(
        FOUR_ARMS["arms"], 5
    )
    assert all(trial.state is TrialState.COMPLETED for trial in trials)
    assert all(np.isfinite(list(trial.metrics[split].values())).all() for trial in trials for split in ("eval", "test"))
    for arm, part in front.arms.items():
        mine = [trial for trial in trials if trial.arm == arm]
        assert {trial.id for trial in part.points} == {trial.id for trial in mine if not is_dominated(trial, mine)}
    assert {trial.id for trial in front.union.points} == {
        trial.id for trial in trials if not is_dominated(trial, trials)
    }
    assert front.union.hypervolume >= max(part.hypervolume for part in front.arms.values()) > 0
    keys = [(trial.arm, duplicate_key(trial.architecture, trial.lr)) for trial in trials]
    assert len(set(keys)) == len(keys)
    assert {trial.attempt for trial in trials} == {0}
    assert len({trial.worker_id for trial in trials}) == 2
    for trial in trials:
        check_costs_and_network(service, search.spec.shape, trial)


def check_costs_and_network(service: Service, shape, trial: Trial) -> None:
    """Costs equal torch's counts; a network on a front is there and is rebuilt bit by bit."""
    from workers.training.network import Network
    from workers.training.network_file import load_network

    network = Network(trial.architecture, shape, trial.seed)
    counted = sum(weight.numel() for weight in network.parameters() if weight.requires_grad)
    assert trial.costs.parameters_trainable == counted
    known = trial.costs.model_copy(update={"train_flops": None})  # which follow from the recipe too
    assert known == Costs(**known_costs(trial.architecture, shape).model_dump())
    if trial.on_front:
        loaded = load_network(service.client.network(trial.id))
        assert loaded.projection_hashes == (trial.projection_hash,)
        assert sum(weight.numel() for weight in loaded.parameters() if weight.requires_grad) == counted


def test_the_trial_of_a_killed_worker_goes_on_elsewhere_and_finishes_exactly_once(service: Service) -> None:
    doomed = service.start_worker("--name", "doomed")
    search = service.client.submit({**LONG, "arms": {"only": LONG["arms"]["hourglass"]}})
    service.wait_for(search.id, lambda now: leased(now) == 1, 30, "the doomed worker has a trial")
    artifacts = service.folder / "home" / "artifacts"
    wait_until(lambda: any(artifacts.rglob("*.checkpoint")), 30, "it has left a checkpoint")
    doomed.send_signal(signal.SIGKILL)
    heir = service.start_worker("--name", "heir")
    service.wait_for(search.id, lambda now: now.state == "finished", 110, "the heir finished it")
    (trial,) = service.client.trials(search.id)
    assert (trial.state, trial.attempt) == (TrialState.COMPLETED, 1)
    assert 0 < trial.environment["resumed_from_epoch"] < 400
    assert trial.worker_id == next(worker.id for worker in service.client.workers() if worker.name == "heir")
    assert heir.poll() is None


def test_a_server_restarted_in_the_middle_goes_on_and_nothing_is_trained_twice(service: Service) -> None:
    service.start_worker()
    service.start_worker()
    search = service.client.submit(short(recipe={"epochs": 10, "batch_size": 64}))
    service.wait_for(search.id, lambda now: leased(now) == 2, 30, "both workers train")
    assert service.stop(service.up) == 0
    service.start_server()
    service.wait_for(search.id, lambda now: now.state == "finished", 110, "the search is finished")
    trials = [trial for trial in service.client.trials(search.id) if trial.state is not TrialState.REFUSED]
    assert len(trials) == 20
    assert {trial.state for trial in trials} == {TrialState.COMPLETED}
    assert {trial.attempt for trial in trials} == {0}
    assert len({(trial.arm, duplicate_key(trial.architecture, trial.lr)) for trial in trials}) == 20


def test_a_worker_told_to_end_gives_its_trial_back_at_once(service: Service) -> None:
    worker = service.start_worker()
    search = service.client.submit({**LONG, "arms": {"only": LONG["arms"]["hourglass"]}})
    service.wait_for(search.id, lambda now: leased(now) == 1, 30, "the worker has the trial")
    assert service.stop(worker) == 0
    (trial,) = service.client.trials(search.id)
    assert (trial.state, trial.attempt) == (TrialState.QUEUED, 0)


def test_pausing_takes_the_trial_from_its_worker_and_cancelling_ends_it(service: Service) -> None:
    service.start_worker()
    search = service.client.submit({**LONG, "arms": {"only": LONG["arms"]["hourglass"]}})
    service.wait_for(search.id, lambda now: leased(now) == 1, 30, "the worker has the trial")
    service.client.pause(search.id)
    service.wait_for(search.id, lambda now: leased(now) == 0, 10, "the trial is back in the queue")
    service.client.resume(search.id)
    service.wait_for(search.id, lambda now: leased(now) == 1, 10, "it is trained again")
    service.client.cancel(search.id)
    (trial,) = service.client.trials(search.id)
    assert (trial.state, trial.attempt) == (TrialState.CANCELLED, 0)
    other = service.client.submit(short(arms={"only": LONG["arms"]["hourglass"]}, budget={"trials_per_arm": 1}))
    service.wait_for(other.id, lambda now: now.state == "finished", 30, "the worker is free for another search")


def test_a_worker_without_work_ends_by_itself_when_asked_to(service: Service) -> None:
    worker = service.start_worker("--exit-when-idle", "0.5")
    assert worker.wait(30) == 0
    wait_until(lambda: not service.client.workers()[0].alive, 5, "it said goodbye")


def test_a_given_architecture_is_trained_and_its_fixed_projection_is_remembered(service: Service) -> None:
    service.start_worker()
    search = service.client.submit(
        short(arms={"fixed": FOUR_ARMS["arms"]["hourglass-fixed"]}, budget={"trials_per_arm": 2})
    )
    wanted = service.client.enqueue(search.id, Enqueue(arm="fixed", d_z=100, d_h=10, depth=2, lr=3e-3))
    service.wait_for(search.id, lambda now: now.state == "finished", 60, "the search is finished")
    trial = next(trial for trial in service.client.trials(search.id) if trial.id == wanted.id)
    assert (trial.state, trial.origin) == (TrialState.COMPLETED, "enqueued")
    assert trial.projection_hash.startswith("sha256:")


def test_a_second_server_on_the_same_folder_is_refused(service: Service) -> None:
    import subprocess

    from tests.acceptance.service import HOURGLASS

    command = [*HOURGLASS, "up", "--port", "0", "--workers", "0", "--data-dir", str(service.folder / "home")]
    second = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert second.returncode == 1
    assert "another server uses" in second.stderr


def test_halving_stops_dominated_trials_early_and_their_pages_say_why(service: Service) -> None:
    service.start_worker()
    arms = {"hourglass": {**FOUR_ARMS["arms"]["hourglass"], "lr": [1e-5, 1e-2]}}
    search = service.client.submit(
        short(arms=arms, recipe={"epochs": 9, "batch_size": 64}, budget={"epochs_per_arm": 60}, stopping="halving")
    )
    service.wait_for(search.id, lambda now: now.state == "finished", 60, "the search is finished")
    trials = [trial for trial in service.client.trials(search.id) if trial.state is not TrialState.REFUSED]
    stopped = [trial for trial in trials if trial.state is TrialState.STOPPED]
    assert stopped
    assert {trial.epochs_done for trial in stopped} <= {1, 3}
    assert {trial.epochs_done for trial in trials if trial.state is TrialState.COMPLETED} == {9}
    assert 60 <= sum(trial.epochs_done for trial in trials) < 60 + 9
    for trial in stopped:
        (*before, last) = service.client.curves(trial.id).rungs
        assert all(standing.goes_on for standing in before)
        assert (last.goes_on, last.epoch, last.text) == (False, trial.epochs_done, trial.message)
