"""Early stopping on both databases: judged once at a rung, in the report's transaction, the same after a restart."""

import pytest

from nas_service.database import Database
from nas_service.database.events import events_after
from nas_service.database.reports import standings_of_trial
from nas_service.database.searches import arms_of
from nas_service.database.trials import trial_by_id
from nas_service.domain.search import DEFAULT_OBJECTIVES
from nas_service.domain.states import TrialState
from nas_service.domain.stopping import FEWEST_PEERS, Standing, judge
from nas_service.lifecycle import control
from nas_service.lifecycle.errors import Unsuitable
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.lease import lease, reap, release, report
from nas_service.messages import Enqueue, EpochReport, Lease, Release, Report, ReportAnswer, Result
from nas_service.settings import Settings
from tests.builders import a_request, a_result, submitted

SETTINGS = Settings(lease_seconds=60)
NINE = {"recipe": {"epochs": 9}, "stopping": "halving", "budget": {"trials_per_arm": 100}}  # rungs after 1 and 3
EARLY, ON = ReportAnswer(action="stop", reason="early"), ReportAnswer(action="continue")


def searching(database: Database, **changes: object) -> int:
    return submitted(database, **NINE | changes)


def taken(database: Database, search_id: int, d_z: int | None = None) -> Lease:
    """Lease a trial: a new one of that width, or the one that waits."""
    with database.write() as connection:
        if d_z is not None:
            control.enqueue(connection, search_id, Enqueue(arm="hourglass", d_z=d_z, d_h=8, depth=2, lr=1e-3))
        number = len(events_after(connection, search_id, 0))
        granted = lease(connection, a_request(f"request-{search_id}-{number}"), SETTINGS)
    assert granted is not None
    return granted


def reported(
    database: Database, held: Lease, psnr_db: float, epoch: int = 1, training: int = 0, name: str = "psnr_db_average"
) -> ReportAnswer:
    row = EpochReport(training=training, epoch=epoch, metrics={"psnr_db": 0.0, name: psnr_db})
    with database.write() as connection:
        return report(connection, held.lease_id, held.token, Report(step=epoch, reports=[row]), SETTINGS)


def arrived(database: Database, search_id: int, psnr_db: float = 20.0, d_z: int = 70) -> None:
    """Let as many trials as a judgement needs reach the first rung, and go on."""
    for number in range(FEWEST_PEERS):
        assert reported(database, taken(database, search_id, d_z + number), psnr_db) == ON


def ended(database: Database, held: Lease, result: Result):
    with database.write() as connection:
        return finish(connection, held.lease_id, held.token, result)


STOPPED = Result(outcome="stopped", epochs_done=1, seconds=2.0)


def test_a_lease_names_the_rungs(each_database: Database) -> None:
    assert taken(each_database, searching(each_database), 70).rungs == (1, 3)
    assert taken(each_database, searching(each_database, stopping="none"), 70).rungs == ()


def test_a_dominated_trial_is_stopped_and_says_why(each_database: Database) -> None:
    search_id = searching(each_database)
    arrived(each_database, search_id)
    held = taken(each_database, search_id, 90)
    assert reported(each_database, held, 19.0) == EARLY
    trial = ended(each_database, held, STOPPED)
    why = "after epoch 1: dominated by 3 of the 3 trials there before it that cost no more"
    assert (trial.state, trial.message, trial.metrics, trial.seconds) == (TrialState.STOPPED, why, None, 2.0)
    with each_database.read() as connection:
        event = events_after(connection, search_id, 0)[-1]
        assert (event.kind, event.data["message"]) == ("trial_stopped", why)
        standings = standings_of_trial(connection, trial.id)
    assert standings == [Standing(epoch=1, peers=FEWEST_PEERS, better=FEWEST_PEERS, goes_on=False)]


@pytest.mark.parametrize(("d_z", "psnr_db"), [(66, 10.0), (90, 20.5)])
def test_a_cheaper_or_a_better_trial_goes_on(each_database: Database, d_z: int, psnr_db: float) -> None:
    search_id = searching(each_database)
    arrived(each_database, search_id)
    assert reported(each_database, taken(each_database, search_id, d_z), psnr_db) == ON


def test_trials_of_another_arm_or_search_are_no_peers(each_database: Database) -> None:
    arrived(each_database, searching(each_database))
    assert reported(each_database, taken(each_database, searching(each_database), 90), 1.0) == ON


def test_what_was_decided_stays_whatever_is_reported_later(each_database: Database) -> None:
    search_id = searching(each_database)
    arrived(each_database, search_id)
    held = taken(each_database, search_id, 90)
    for epoch, psnr_db in ((1, 19.0), (2, 30.0), (3, 30.0)):  # the first answer was lost on its way
        assert reported(each_database, held, psnr_db, epoch) == EARLY


def test_a_trial_taken_over_after_the_decision_is_stopped_at_the_next_workers_first_heartbeat(
    each_database: Database,
) -> None:
    search_id = searching(each_database)
    arrived(each_database, search_id)
    held = taken(each_database, search_id, 90)
    assert reported(each_database, held, 19.0) == EARLY
    with each_database.write() as connection:
        release(connection, held.lease_id, held.token, Release(reason="shutdown"))
    heir = taken(each_database, search_id)
    assert heir.trial_id == held.trial_id
    with each_database.write() as connection:
        assert report(connection, heir.lease_id, heir.token, Report(step=0), SETTINGS) == EARLY
        assert reap(connection, max_attempts=3) == 0
    assert ended(each_database, heir, STOPPED.model_copy(update={"epochs_done": 0})).epochs_done == 1


def test_a_trial_trained_again_keeps_its_place_among_those_at_the_rung(each_database: Database) -> None:
    search_id = searching(each_database)
    held = taken(each_database, search_id, 70)
    reported(each_database, held, 20.0)
    with each_database.write() as connection:
        release(connection, held.lease_id, held.token, Release(reason="shutdown"))
    assert reported(each_database, taken(each_database, search_id), 20.0) == ON
    for number in range(1, FEWEST_PEERS):
        reported(each_database, taken(each_database, search_id, 70 + number), 20.0)
    late = taken(each_database, search_id, 90)
    assert reported(each_database, late, 19.0) == EARLY
    with each_database.read() as connection:
        assert standings_of_trial(connection, late.trial_id)[0].peers == FEWEST_PEERS


def test_the_mean_over_the_replicates_counts_once_all_are_there(each_database: Database) -> None:
    search_id = searching(each_database, recipe={"epochs": 9, "replicates": 2})
    for number in range(FEWEST_PEERS):
        held = taken(each_database, search_id, 70 + number)
        assert [reported(each_database, held, 20.0, training=training) for training in (0, 1)] == [ON, ON]
    held, other = (taken(each_database, search_id, d_z) for d_z in (90, 91))
    assert [reported(each_database, held, psnr, training=n) for n, psnr in enumerate((15.0, 26.0))] == [ON, ON]
    assert [reported(each_database, other, psnr, training=n) for n, psnr in enumerate((25.0, 14.0))] == [ON, EARLY]
    trial = ended(each_database, other, STOPPED)
    assert trial.epochs_done == 2


def test_a_trial_without_averaged_metrics_is_not_judged(each_database: Database) -> None:
    search_id = searching(each_database)
    arrived(each_database, search_id)
    held = taken(each_database, search_id, 90)
    assert reported(each_database, held, 1.0, name="ssim") == ON
    with each_database.read() as connection:
        assert standings_of_trial(connection, held.trial_id) == []


def test_a_trial_that_was_not_told_to_stop_cannot_end_as_stopped(each_database: Database) -> None:
    held = taken(each_database, searching(each_database), 70)
    with pytest.raises(Unsuitable, match="was not told to stop early"):
        ended(each_database, held, STOPPED)


def test_a_trial_that_reached_its_end_before_it_heard_is_completed(each_database: Database) -> None:
    search_id = searching(each_database)
    arrived(each_database, search_id)
    held = taken(each_database, search_id, 90)
    assert reported(each_database, held, 19.0) == EARLY
    assert ended(each_database, held, a_result(19.0)).state is TrialState.COMPLETED


@pytest.mark.parametrize(("budget", "spent"), [({"trials_per_arm": 100}, 1.0), ({"epochs_per_arm": 900}, 1.0)])
def test_a_stopped_trial_spends_a_trial_or_the_epochs_that_it_took(
    each_database: Database, budget: dict[str, int], spent: float
) -> None:
    search_id = searching(each_database, budget=budget)
    arrived(each_database, search_id)
    promised = spending(each_database, search_id)
    held = taken(each_database, search_id, 90)
    reported(each_database, held, 19.0)
    ended(each_database, held, STOPPED)
    assert spending(each_database, search_id) - promised == spent


def spending(database: Database, search_id: int) -> float:
    with database.read() as connection:
        return arms_of(connection, search_id)[0].spending


def test_decisions_follow_from_the_stored_arrivals_alone_also_after_a_restart(each_database: Database) -> None:
    search_id = searching(each_database)
    decided, expected, arrivals = [], [], list[list[float]]()
    for number in range(30):
        if number == 15:
            each_database = Database(each_database.url)
        held = taken(each_database, search_id, 66 + (7 * number) % 60)
        psnr_db = 20 + (5 * number) % 11 / 10
        decided.append(reported(each_database, held, psnr_db) == ON)
        with each_database.read() as connection:
            trial = trial_by_id(connection, held.trial_id)
        arrivals.append([float(trial.costs.parameters_trainable), psnr_db])
        expected.append(judge(1, arrivals[-1], arrivals[:-1], DEFAULT_OBJECTIVES).goes_on)
    each_database.close()
    assert decided == expected
    assert 5 < sum(decided) < 25
