"""Leases on both databases: granted once, renewed, fenced, given back, taken back."""

import threading

import pytest

from nas_service.database import Database
from nas_service.database.events import events_after, lock_search
from nas_service.database.reports import reports_of_trial
from nas_service.database.searches import arms_of, search_by_id
from nas_service.database.trials import front_trials, trial_by_id
from nas_service.domain.states import FailureReason, TrialState
from nas_service.lifecycle import control
from nas_service.lifecycle.errors import Conflict, LeaseLost, Unsuitable
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.lease import dismiss, lease, reap, release, report
from nas_service.messages import Enqueue, EpochReport, Lease, Release, Report
from nas_service.settings import Settings
from tests.builders import ARMS, a_request, a_result, submitted

SETTINGS = Settings(lease_seconds=60)
EXPIRED = SETTINGS.model_copy(update={"lease_seconds": -1.0})


def queued(database: Database, count: int = 1, **changes: object) -> list[int]:
    """A search with that many queued trials; returns their ids."""
    search_id = submitted(database, budget={"trials_per_arm": 100}, **changes)
    with database.write() as connection:
        return [
            control.enqueue(connection, search_id, Enqueue(arm="hourglass", d_z=70 + n, d_h=8, depth=2, lr=1e-3))
            for n in range(count)
        ]


def taken(database: Database, request_id: str = "request-1", settings: Settings = SETTINGS, **worker) -> Lease | None:
    with database.write() as connection:
        return lease(connection, a_request(request_id, **worker), settings)


def trial_of(database: Database, trial_id: int):
    with database.read() as connection:
        return trial_by_id(connection, trial_id)


def ended(database: Database, held: Lease, **result: object):
    with database.write() as connection:
        return finish(connection, held.lease_id, held.token, a_result(**result))


def test_a_repeated_request_gets_the_same_lease_and_another_one_gets_none(each_database: Database) -> None:
    queued(each_database)
    first, again, other = (taken(each_database, name) for name in ("request-1", "request-1", "request-2"))
    assert first == again
    assert other is None


def test_many_workers_at_once_never_get_the_same_trial(each_database: Database) -> None:
    trial_ids = queued(each_database, 12)
    granted: list[int] = []

    def take_all(worker: int) -> None:
        number = 0
        while (held := taken(each_database, f"request-{worker}-{number}", id=f"w{worker}")) is not None:
            granted.append(held.trial_id)
            number += 1

    threads = [threading.Thread(target=take_all, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(granted) == trial_ids


def test_higher_priority_goes_first_then_the_longest_waiting(each_database: Database) -> None:
    late, low = queued(each_database, 2)
    (high,) = queued(each_database, priority=5)
    order = [taken(each_database, f"request-{n}").trial_id for n in range(3)]
    assert order == [high, late, low]


def test_a_worker_gets_only_trials_on_datasets_that_it_can_read(each_database: Database) -> None:
    queued(each_database)
    other_digest = f"sha256:{'0' * 64}"
    assert taken(each_database, "request-a", datasets={"mnist": None}) is None
    assert taken(each_database, "request-b", datasets={}) is None
    assert taken(each_database, "request-c", problems={"digits": "broken"}) is None
    assert taken(each_database, "request-d", datasets={"digits": other_digest}) is None
    assert taken(each_database, "request-e", datasets={"digits": None}) is not None


def test_text_that_a_database_cannot_hold_stops_nobody(each_database: Database) -> None:
    queued(each_database)
    held = taken(each_database, "request\0", id="w\0", name="worker\0")
    assert held == taken(each_database, "request\0", id="w\0", name="worker\0")
    assert ended(each_database, held, message="\0").state is TrialState.COMPLETED


def test_nothing_of_a_paused_search_is_leased(each_database: Database) -> None:
    (trial_id,) = queued(each_database)
    with each_database.write() as connection:
        control.pause(connection, trial_of(each_database, trial_id).search_id)
    assert taken(each_database) is None


def test_a_report_renews_the_lease_and_is_stored_once(each_database: Database) -> None:
    queued(each_database)
    held = taken(each_database, settings=EXPIRED)
    news = Report(step=1, reports=[EpochReport(training=0, epoch=1, metrics={"psnr_db": 15.0})])
    with each_database.write() as connection:
        for _ in range(2):
            assert report(connection, held.lease_id, held.token, news, SETTINGS).action == "continue"
        assert reap(connection, max_attempts=3) == 0
        assert reports_of_trial(connection, held.trial_id) == [
            {"training": 0, "epoch": 1, "metrics": {"psnr_db": 15.0}}
        ]


def test_an_expired_lease_is_taken_back_and_its_holder_is_fenced_off(each_database: Database) -> None:
    queued(each_database)
    stale = taken(each_database, settings=EXPIRED)
    with each_database.write() as connection:
        assert reap(connection, max_attempts=3) == 1
    fresh = taken(each_database, "request-2", id="w2")
    assert (fresh.trial_id, fresh.token) == (stale.trial_id, stale.token + 1)
    with each_database.write() as connection, pytest.raises(LeaseLost):
        report(connection, stale.lease_id, stale.token, Report(step=1), SETTINGS)
    with pytest.raises(LeaseLost):
        ended(each_database, stale)
    assert ended(each_database, fresh).state is TrialState.COMPLETED
    assert trial_of(each_database, fresh.trial_id).attempt == 1


def test_a_trial_whose_step_stands_still_is_taken_back_although_its_heart_beats(each_database: Database) -> None:
    (trial_id,) = queued(each_database, stall_seconds=1e-6)
    held = taken(each_database)
    with each_database.write() as connection:
        report(connection, held.lease_id, held.token, Report(step=0), SETTINGS)
        assert reap(connection, max_attempts=3) == 1
    trial = trial_of(each_database, trial_id)
    assert (trial.state, trial.message) == (TrialState.QUEUED, "its worker made no step for too long")


def test_the_last_attempt_lost_makes_a_trial_poison(each_database: Database) -> None:
    (trial_id,) = queued(each_database)
    for attempt in range(3):
        taken(each_database, f"request-{attempt}", settings=EXPIRED)
        with each_database.write() as connection:
            reap(connection, max_attempts=3)
    trial = trial_of(each_database, trial_id)
    assert (trial.state, trial.reason) == (TrialState.FAILED, FailureReason.POISON)


def test_trials_lost_together_with_the_search_that_the_first_one_ends_hold_nobody_up(each_database: Database) -> None:
    trial_ids = queued(each_database, 2, max_failures=0)
    for number in range(2):
        taken(each_database, f"request-{number}", id=f"w{number}", settings=EXPIRED)
    with each_database.write() as connection:
        assert reap(connection, max_attempts=1) == 1
    states = [trial_of(each_database, trial_id).state for trial_id in trial_ids]
    assert states == [TrialState.FAILED, TrialState.CANCELLED]


def test_a_search_cancelled_while_a_worker_asks_makes_the_worker_wait_and_nobody_waits_in_a_circle(
    postgres_database: Database,
) -> None:
    (trial_id,) = queued(postgres_database)
    search_id = trial_of(postgres_database, trial_id).search_id
    granted: list[Lease | None] = []
    asking = threading.Thread(target=lambda: granted.append(taken(postgres_database)))
    with postgres_database.write() as connection:
        lock_search(connection, search_id)
        asking.start()
        asking.join(0.3)  # long enough to reach the lock
        control.cancel(connection, search_id)
    asking.join(30)
    assert granted == [None]


def test_a_result_that_comes_while_its_expired_lease_is_taken_back_stays(postgres_database: Database) -> None:
    (trial_id,) = queued(postgres_database)
    held = taken(postgres_database, settings=EXPIRED)
    count: list[int] = []

    def take_back() -> None:
        with postgres_database.write() as connection:
            count.append(reap(connection, max_attempts=3))

    reaping = threading.Thread(target=take_back)
    with postgres_database.write() as connection:
        finish(connection, held.lease_id, held.token, a_result())
        reaping.start()
        reaping.join(0.3)
    reaping.join(30)
    assert count == [0]
    assert trial_of(postgres_database, trial_id).state is TrialState.COMPLETED


def test_a_trial_given_back_uses_no_attempt_and_starts_again_from_nothing(each_database: Database) -> None:
    (trial_id,) = queued(each_database)
    held = taken(each_database)
    with each_database.write() as connection:
        news = Report(step=1, reports=[EpochReport(training=0, epoch=1, metrics={"psnr_db": 15.0})])
        report(connection, held.lease_id, held.token, news, SETTINGS)
        release(connection, held.lease_id, held.token, Release(reason="shutdown"))
        assert reports_of_trial(connection, trial_id) == []
    trial = trial_of(each_database, trial_id)
    assert (trial.state, trial.attempt, trial.worker_id) == (TrialState.QUEUED, 0, None)


def test_a_worker_that_says_goodbye_leaves_its_trial_to_others(each_database: Database) -> None:
    (trial_id,) = queued(each_database)
    taken(each_database, id="w1")
    with each_database.write() as connection:
        dismiss(connection, "w1")
    assert trial_of(each_database, trial_id).state is TrialState.QUEUED
    assert taken(each_database, "request-2", id="w2").trial_id == trial_id


def test_a_paused_or_cancelled_search_stops_its_running_trials(each_database: Database) -> None:
    first, second = queued(each_database, 2)
    holds = [taken(each_database, f"request-{n}") for n in range(2)]
    search_id = trial_of(each_database, first).search_id
    with each_database.write() as connection:
        control.pause(connection, search_id)
        assert report(connection, holds[0].lease_id, holds[0].token, Report(step=1), SETTINGS).reason == "paused"
        control.cancel(connection, search_id)
        assert report(connection, holds[1].lease_id, holds[1].token, Report(step=1), SETTINGS).reason == "cancelled"
    with pytest.raises(LeaseLost):
        ended(each_database, holds[1])
    assert trial_of(each_database, second).state is TrialState.CANCELLED


def test_the_same_result_again_changes_nothing_and_another_one_is_refused(each_database: Database) -> None:
    queued(each_database)
    held = taken(each_database)
    first, again = ended(each_database, held), ended(each_database, held)
    assert first == again
    with pytest.raises(Conflict, match="another result"):
        ended(each_database, held, psnr_db=99.0)
    with each_database.read() as connection:
        kinds = [event.kind for event in events_after(connection, held.search_id, 0)]
    assert kinds.count("trial_completed") == 1


def test_a_result_without_an_objective_is_refused_and_the_trial_stays_leased(each_database: Database) -> None:
    (trial_id,) = queued(each_database)
    held = taken(each_database)
    with pytest.raises(Unsuitable, match=r"metrics\.eval\.psnr_db"):
        ended(each_database, held, metrics={"eval": {"mse": 0.1}})
    assert trial_of(each_database, trial_id).state is TrialState.LEASED


def test_a_value_that_has_no_place_on_a_log_scale_is_refused(each_database: Database) -> None:
    objectives = [{"name": "macs"}, {"name": "ssim", "scale": "log"}]
    queued(each_database, objectives=objectives)
    held = taken(each_database)
    with pytest.raises(Unsuitable, match="ssim must be above 0"):
        ended(each_database, held, metrics={"eval": {"ssim": -0.1}})


def test_the_stored_front_follows_every_result(each_database: Database) -> None:
    queued(each_database, 4)  # d_z 70 to 73: each costs more than the one before
    holds = [taken(each_database, f"request-{n}", id=f"w{n}") for n in range(4)]
    fronts = []
    for held, psnr_db in zip(holds, (20.0, 19.0, 22.0, 22.0), strict=True):
        ended(each_database, held, psnr_db=psnr_db)
        with each_database.read() as connection:
            fronts.append([trial.id for trial in front_trials(connection, held.search_id)])
    first, _second, third, _fourth = (held.trial_id for held in holds)
    assert fronts == [[first], [first], [first, third], [first, third]]


def test_progress_counts_and_spending_follow_every_step(each_database: Database) -> None:
    queued(each_database, 3, recipe={"epochs": 10, "batch_size": 128}, arms={"hourglass": ARMS["hourglass"]})
    holds = [taken(each_database, f"request-{n}", id=f"w{n}") for n in range(2)]
    ended(each_database, holds[0])
    ended(each_database, holds[1], outcome="failed", reason="diverged", metrics=None)
    with each_database.read() as connection:
        (arm,) = arms_of(connection, holds[0].search_id)
    assert arm.spending == 3  # completed, diverged, and one still promised
    counts = {state: count for state, count in arm.trials.items() if count}
    assert counts == {TrialState.COMPLETED: 1, TrialState.FAILED: 1, TrialState.QUEUED: 1}


def test_too_many_failures_end_the_search_with_the_reason(each_database: Database) -> None:
    queued(each_database, 3, max_failures=1)
    for number in range(2):
        held = taken(each_database, f"request-{number}")
        ended(each_database, held, outcome="failed", reason="error", message="boom", metrics=None)
    with each_database.read() as connection:
        search = search_by_id(connection, held.search_id)
        (arm,) = arms_of(connection, held.search_id)
    assert search.state == "failed"
    assert search.reason == "2 trials failed, more than max_failures 1 allows; the last one: boom"
    assert arm.trials[TrialState.CANCELLED] == 1
    assert arm.spending == 0


@pytest.mark.parametrize(("done", "spent"), [(10, 10.0), (4, 4.0)])
def test_a_budget_in_epochs_counts_what_was_trained(each_database: Database, done: int, spent: float) -> None:
    search_id = submitted(each_database, recipe={"epochs": 10, "batch_size": 128}, budget={"epochs_per_arm": 50})
    with each_database.write() as connection:
        control.enqueue(connection, search_id, Enqueue(arm="hourglass", d_z=70, d_h=8, depth=2, lr=1e-3))
    held = taken(each_database)
    whole = done == 10
    changes = {} if whole else {"outcome": "failed", "reason": "diverged", "metrics": None}
    ended(each_database, held, epochs_done=done, **changes)
    with each_database.read() as connection:
        (arm,) = arms_of(connection, search_id)
    assert arm.spending == spent
