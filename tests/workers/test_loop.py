"""A worker with several slots against a served application."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from time import monotonic, sleep

import pytest
import torch

from nas_service.database import Database
from nas_service.database.events import events_after
from nas_service.database.reports import reports_of_trial
from nas_service.database.trials import trial_by_id
from nas_service.database.workers import newest_workers
from nas_service.domain.records import StoredWorker
from nas_service.domain.states import FailureReason, TrialState
from nas_service.domain.trial import Trial
from tests.builders import enqueued, submitted
from workers import loop, slots
from workers import trial as worker_trial
from workers.loop import Worker, WorkerOptions

LONG = {"epochs": 10_000, "batch_size": 16}
LEASED_AND_GIVEN_BACK = ["trial_leased", "trial_leased", "trial_requeued", "trial_requeued"]


@pytest.fixture(autouse=True)
def usual_signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def two_trials(database: Database, **search: object) -> tuple[int, int]:
    search_id = submitted(database, **search)
    return enqueued(database, search_id, d_z=65), enqueued(database, search_id, d_z=66)


def trial_of(database: Database, trial_id: int) -> Trial:
    with database.read() as connection:
        return trial_by_id(connection, trial_id)


def the_worker(database: Database) -> StoredWorker:
    with database.read() as connection:
        (worker,) = newest_workers(connection, 2)
    return worker


def reported(database: Database, trial_id: int) -> int:
    with database.read() as connection:
        return len(reports_of_trial(connection, trial_id))


def comings_and_goings(database: Database) -> list[str]:
    with database.read() as connection:
        kinds = [event.kind for event in events_after(connection, 1, 0)]
    return [kind for kind in kinds if kind in ("trial_leased", "trial_requeued")]


def wait_until(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline
        sleep(0.02)


def test_two_slots_train_two_trials_at_once_and_sigterm_gives_both_back(database: Database, served: str) -> None:
    trials = two_trials(database, recipe=LONG)
    command = [sys.executable, "-m", "nas_service.cli", "worker", "--server", served, "--slots", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: all(reported(database, trial_id) >= 2 for trial_id in trials))
        worker = the_worker(database)
        assert (worker.slots, worker.trials) == (2, 2)
        assert {trial_of(database, trial_id).worker_id for trial_id in trials} == {worker.id}
    finally:
        process.terminate()
        lines = process.communicate(timeout=60)[1].splitlines()
    assert process.returncode == 0
    assert comings_and_goings(database) == LEASED_AND_GIVEN_BACK
    for trial_id in trials:
        trial = trial_of(database, trial_id)
        assert (trial.state, trial.attempt, trial.message) == (TrialState.QUEUED, 0, "shutdown")
    assert {line.rsplit("slot=", 1)[1][0] for line in lines if "training" in line} == {"0", "1"}
    worker = the_worker(database)
    assert (worker.alive, worker.trials) == (False, 0)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("no 8 GB left"), FailureReason.OUT_OF_MEMORY),
        (RuntimeError("boom"), FailureReason.ERROR),
    ],
)
def test_a_slot_whose_trial_fails_leaves_its_sibling_alone(
    database: Database, served: str, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: FailureReason
) -> None:
    doomed, healthy = two_trials(database)
    run_trial, both_train, one_failed = worker_trial.run_trial, threading.Barrier(2, timeout=30), threading.Event()

    def run(architecture, *arguments, **options):
        both_train.wait()
        if architecture.d_z == trial_of(database, doomed).architecture.d_z:
            raise error
        wait_until(lambda: trial_of(database, doomed).state is TrialState.FAILED)
        one_failed.set()
        return run_trial(architecture, *arguments, **options)

    monkeypatch.setattr(worker_trial, "run_trial", run)
    Worker(WorkerOptions(served, fetch_datasets=False, device="cpu", slots=2, exit_when_idle=0.1)).run()
    assert one_failed.is_set()
    assert (trial_of(database, doomed).state, trial_of(database, doomed).reason) == (TrialState.FAILED, reason)
    assert trial_of(database, healthy).state is TrialState.COMPLETED


def test_slots_take_turns_for_what_is_measured_alone(database: Database, served: str) -> None:
    objectives = [{"name": "latency_ms", "reference": 1e6}, {"name": "psnr_db"}]
    trials = two_trials(database, objectives=objectives, device="cpu")
    Worker(WorkerOptions(served, fetch_datasets=False, device="cpu", slots=2, exit_when_idle=0.1)).run()
    for trial_id in trials:
        trial = trial_of(database, trial_id)
        assert trial.state is TrialState.COMPLETED, trial.message
        assert trial.metrics["measured"]["latency_ms"] > 0


def test_auto_adds_a_slot_once_the_first_one_is_measured(
    database: Database, served: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "most_slots", lambda _: 2)
    monkeypatch.setattr(loop, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(slots, "LEAST_SECONDS", 0.05)
    trials = two_trials(database, recipe=LONG)

    def end_it() -> None:
        try:
            wait_until(lambda: all(reported(database, trial_id) for trial_id in trials))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    watching = threading.Thread(target=end_it)
    watching.start()
    Worker(WorkerOptions(served, fetch_datasets=False, device="cpu", slots=None)).run()
    watching.join()
    assert comings_and_goings(database) == LEASED_AND_GIVEN_BACK


def test_on_a_cpu_auto_is_one_slot() -> None:
    assert loop.most_slots(torch.device("cpu")) == 1
    assert loop.most_slots(torch.device("cuda")) == slots.MOST_SLOTS
