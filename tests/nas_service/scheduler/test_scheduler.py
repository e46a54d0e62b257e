"""The scheduler on a real database, with workers that finish at once."""

from collections.abc import Callable
from csv import DictReader
from io import StringIO
from pathlib import Path
from typing import get_args

import pytest

from nas_service.analysis.charts import front_figure
from nas_service.analysis.fronts import fronts_of_search
from nas_service.analysis.tables import csv_lines
from nas_service.database import Database
from nas_service.database.events import events_after
from nas_service.database.searches import arms_of, search_by_id
from nas_service.database.trials import history_of_arm, newest_trials
from nas_service.domain.search import SamplerName
from nas_service.domain.states import SearchState, TrialState
from nas_service.domain.trial import duplicate_key
from nas_service.lifecycle import control
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.lease import lease
from nas_service.messages import Enqueue
from nas_service.optimizer import ArmStudy
from nas_service.scheduler import Scheduler
from nas_service.scheduler.desk import record_of
from nas_service.settings import Settings
from tests.builders import ARMS, a_request, a_result, a_search, enqueued, leased, submitted
from tests.nas_service.scheduler.fake_workers import run_search

NewScheduler = Callable[[], Scheduler]
SAMPLERS = [pytest.param(name, marks=pytest.mark.slow) if name == "gp" else name for name in get_args(SamplerName)]


def outcome_as_of(row, event, running):
    """The row as it stood then: without its end when it had none yet."""
    ended_later = row.ended_event is not None and row.ended_event > event
    if ended_later or row.number in running:
        return row.model_copy(update={"state": TrialState.LEASED, "metrics": None, "reason": None})
    return row


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_asking_again_after_a_rebuild_from_rows_gives_the_same_architecture(
    database: Database, new_scheduler: NewScheduler, settings: Settings, sampler: str
) -> None:
    search_id = submitted(database, sampler=sampler, budget={"trials_per_arm": 30})
    run_search(database, new_scheduler, settings, search_id, at_once=3)
    spec = a_search(sampler=sampler, budget={"trials_per_arm": 30})
    with database.read() as connection:
        rows = history_of_arm(connection, search_id, "hourglass")
        trivial = search_by_id(connection, search_id).trivial
    asked_while_running = 0
    for row in rows:
        if row.state is TrialState.REFUSED:
            continue
        event, running = row.asked_after.event, set(row.asked_after.running)
        asked_while_running += len(running) >= 2
        before = [record_of(spec, outcome_as_of(earlier, event, running)) for earlier in rows[: row.number]]
        proposal = ArmStudy.rebuild(spec, "hourglass", before, trivial).ask()
        assert (proposal.architecture, proposal.lr) == (row.architecture, row.lr), row.number
    assert asked_while_running >= 20


@pytest.mark.parametrize("sampler", ["tpe", "nsga2", "random"])
@pytest.mark.parametrize(
    "names", [["train_flops", "latency_ms", "psnr_db"], ["psnr_db", "train_seconds", "train_flops"]]
)
def test_a_search_of_three_objectives_with_measured_costs_runs_to_its_front(
    database: Database, new_scheduler: NewScheduler, settings: Settings, sampler: str, names: list[str]
) -> None:
    objectives = [{"name": name, "scale": "log", "reference": 1e12} for name in names if name != "psnr_db"]
    objectives.insert(names.index("psnr_db"), {"name": "psnr_db"})
    limits = {"max_parameters": 20_000}  # so that some are refused and stand-ins take their place
    search_id = submitted(
        database, objectives=objectives, device="cpu", sampler=sampler, limits=limits, budget={"trials_per_arm": 25}
    )
    run_search(database, new_scheduler, settings, search_id, at_once=3, restart_every=7)
    with database.read() as connection:
        search = search_by_id(connection, search_id)
        trials = newest_trials(connection, search_id, 1000)
    completed = [trial for trial in trials if trial.state is TrialState.COMPLETED]
    assert len(completed) == 25
    assert len(trials) > 25  # refused ones
    assert all(trial.costs.train_flops for trial in completed)
    front = fronts_of_search(search, completed)
    assert {trial.id for trial in front.union.points} == {trial.id for trial in completed if trial.on_front}
    assert front.union.hypervolume > 0
    figure = front_figure(search, completed)
    assert figure.layout.meta["x"] == "costs.train_flops"
    rows = list(DictReader(StringIO("".join(csv_lines(completed)), newline="")))
    assert all(float(row["train_flops"]) > 0 for row in rows)
    measured = next(name for name in names if name.startswith(("latency", "train_seconds")))
    assert all(float(row[measured]) > 0 for row in rows)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_fills_its_budget_where_limits_leave_5_percent_of_the_box(
    database: Database, new_scheduler: NewScheduler, settings: Settings, sampler: str
) -> None:
    arms = {"tight": {**ARMS["hourglass"], "d_z": [65, 400], "d_h": [4, 60], "depth": [1, 20]}}
    limits = {"max_parameters": 30_000}  # 5% of random members: see the assertion
    search_id = submitted(database, arms=arms, limits=limits, sampler=sampler, budget={"trials_per_arm": 30})
    run_search(database, new_scheduler, settings, search_id)
    with database.read() as connection:
        (arm,) = arms_of(connection, search_id)
        trials = newest_trials(connection, search_id, 1000, state=TrialState.COMPLETED)
    assert share_of_box(arms["tight"], limits["max_parameters"]) == pytest.approx(0.05, abs=0.02)
    assert arm.trials[TrialState.COMPLETED] == 30
    assert all(trial.costs.parameters_trainable <= limits["max_parameters"] for trial in trials)


def share_of_box(arm, limit: int) -> float:
    """The share of (d_z, d_h, depth) within the limit, by counting."""
    legal = total = 0
    for d_z in range(arm["d_z"][0], arm["d_z"][1] + 1, 5):
        for d_h in range(arm["d_h"][0], arm["d_h"][1] + 1):
            for depth in range(arm["depth"][0], arm["depth"][1] + 1):
                total += 1
                legal += 2 * 64 * d_z + 2 * depth * d_z * d_h <= limit
    return legal / total


def test_an_arm_without_a_shape_left_ends_exhausted_and_says_so(
    database: Database, new_scheduler: NewScheduler, settings: Settings
) -> None:
    tiny = {"family": "hourglass", "d_z": [65, 66], "d_h": 8, "depth": [1, 2], "lr": 1e-3}
    search_id = submitted(database, arms={"tiny": tiny, "wide": ARMS["hourglass"]}, budget={"trials_per_arm": 6})
    run_search(database, new_scheduler, settings, search_id)
    with database.read() as connection:
        tiny_arm, wide_arm = arms_of(connection, search_id)
        kinds = [event.kind for event in events_after(connection, search_id, 0)]
    assert tiny_arm.trials[TrialState.COMPLETED] == 4  # all there are
    assert "legal shape" in tiny_arm.exhausted
    assert (wide_arm.trials[TrialState.COMPLETED], wide_arm.exhausted) == (6, None)
    assert kinds.count("arm_exhausted") == 1
    assert kinds[-1] == "search_finished"


def test_a_restarted_scheduler_goes_on_and_nothing_is_trained_twice(
    database: Database, new_scheduler: NewScheduler, settings: Settings
) -> None:
    search_id = submitted(database, arms=ARMS, sampler="tpe", budget={"trials_per_arm": 12})
    run_search(database, new_scheduler, settings, search_id, at_once=2, restart_every=3)
    with database.read() as connection:
        trials = newest_trials(connection, search_id, 1000, state=TrialState.COMPLETED)
    keys = [(trial.arm, duplicate_key(trial.architecture, trial.lr)) for trial in trials]
    assert len(keys) == len(set(keys)) == 24


def test_a_single_worker_search_repeats_exactly(
    database: Database, new_scheduler: NewScheduler, settings: Settings
) -> None:
    shapes = []
    for _ in range(2):
        search_id = submitted(database, sampler="tpe", budget={"trials_per_arm": 15})
        run_search(database, new_scheduler, settings, search_id)
        with database.read() as connection:
            trials = newest_trials(connection, search_id, 1000)
        shapes.append([(trial.number, trial.architecture, trial.lr) for trial in trials])
    assert shapes[0] == shapes[1]


def test_an_enqueued_architecture_is_trained_and_the_sampler_goes_on_around_it(
    database: Database, new_scheduler: NewScheduler, settings: Settings
) -> None:
    search_id = submitted(database, sampler="tpe", budget={"trials_per_arm": 8})
    scheduler = new_scheduler()
    scheduler.tick()
    with database.write() as connection:
        control.enqueue(connection, search_id, Enqueue(arm="hourglass", d_z=100, d_h=10, depth=2, lr=2e-3))
        control.enqueue(connection, search_id, Enqueue(arm="hourglass", d_z=500, d_h=10, depth=2, lr=2e-3))
    run_search(database, new_scheduler, settings, search_id, restart_every=2)
    with database.read() as connection:
        trials = newest_trials(connection, search_id, 1000)
        rows = history_of_arm(connection, search_id, "hourglass")
    enqueued = [trial for trial in trials if trial.origin == "enqueued"]
    assert {trial.architecture.d_z for trial in enqueued} == {100, 500}
    assert [row.number for row in rows] == list(range(len(rows)))
    assert all(row.ask for row in rows)
    assert sum(trial.state is TrialState.COMPLETED for trial in trials) == 8


def test_an_enqueued_trial_of_several_learning_rates_may_end_before_the_scheduler_sees_it(
    database: Database, new_scheduler: NewScheduler, settings: Settings, tmp_path: Path
) -> None:
    arms = {"hourglass": ARMS["hourglass"] | {"lr": [1e-3, 2e-3, 3e-3]}}
    search_id = submitted(database, arms=arms, budget={"trials_per_arm": 4})
    enqueued(database, search_id, d_z=100, lr=None)
    held = leased(database, tmp_path)
    with database.write() as connection:
        finish(connection, held.lease_id, held.token, a_result(lr=2e-3))
    run_search(database, new_scheduler, settings, search_id, restart_every=2)
    with database.read() as connection:
        assert search_by_id(connection, search_id).state is SearchState.FINISHED


def test_a_store_that_is_away_holds_up_no_search(
    database: Database, new_scheduler: NewScheduler, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_away(*_: object) -> int:
        raise OSError("the store is away")

    monkeypatch.setattr("nas_service.scheduler.loop.sweep_artifacts", is_away)
    search_id = submitted(database, budget={"trials_per_arm": 2})
    run_search(database, new_scheduler, settings, search_id)
    with database.read() as connection:
        assert search_by_id(connection, search_id).state is SearchState.FINISHED


def test_random_proposals_are_marked_and_counted(
    database: Database, new_scheduler: NewScheduler, settings: Settings
) -> None:
    search_id = submitted(database, sampler="tpe", random_fraction=0.5, budget={"trials_per_arm": 40})
    run_search(database, new_scheduler, settings, search_id)
    with database.read() as connection:
        origins = [trial.origin for trial in newest_trials(connection, search_id, 1000)]
    assert 10 <= origins.count("random") <= 30
    assert set(origins) == {"random", "sampler"}


def test_without_workers_one_trial_waits_and_no_more(
    database: Database, new_scheduler: NewScheduler, settings: Settings
) -> None:
    search_id = submitted(database, arms=ARMS)
    scheduler = new_scheduler()
    for _ in range(5):
        scheduler.tick()
    with database.read() as connection:
        queued = newest_trials(connection, search_id, 100, state=TrialState.QUEUED)
    assert len(queued) == 1


def test_as_many_trials_wait_as_workers_have_idle_slots(
    database: Database, new_scheduler: NewScheduler, settings: Settings
) -> None:
    search_id = submitted(database, budget={"trials_per_arm": 10})
    enqueued(database, search_id)
    for number, slots in enumerate((3, 2)):
        with database.write() as connection:
            lease(connection, a_request(f"request-{number}", id=f"w{number}", slots=slots), settings)
    new_scheduler().tick()  # w0 trains one trial and could train two more
    with database.read() as connection:
        assert len(newest_trials(connection, search_id, 100, state=TrialState.QUEUED)) == 4


def test_a_paused_search_gets_no_new_trials_and_an_extended_one_runs_on(
    database: Database, new_scheduler: NewScheduler, settings: Settings
) -> None:
    search_id = submitted(database, budget={"trials_per_arm": 3})
    with database.write() as connection:
        control.pause(connection, search_id)
    new_scheduler().tick()
    with database.read() as connection:
        assert newest_trials(connection, search_id, 100) == []
    with database.write() as connection:
        control.resume(connection, search_id)
    run_search(database, new_scheduler, settings, search_id)
    with database.write() as connection:
        control.extend(connection, search_id, 5)
    run_search(database, new_scheduler, settings, search_id)
    with database.read() as connection:
        search, trials = search_by_id(connection, search_id), newest_trials(connection, search_id, 100)
    assert search.state is SearchState.FINISHED
    assert len(trials) == 5


def test_an_expired_lease_goes_back_to_the_queue_and_a_third_one_is_poison(
    database: Database, new_scheduler: NewScheduler, settings: Settings
) -> None:
    search_id = submitted(database)
    hasty = settings.model_copy(update={"lease_seconds": 0.0})
    for attempt in range(3):
        new_scheduler().tick()
        with database.write() as connection:
            assert lease(connection, a_request(f"request-{attempt}"), hasty) is not None
    new_scheduler().tick()
    with database.read() as connection:
        trials = newest_trials(connection, search_id, 100)
    assert [(trial.state, trial.reason) for trial in trials if trial.number == 0] == [("failed", "poison")]
    assert "3 workers lost it" in trials[-1].message


def test_a_search_that_the_optimizer_cannot_serve_fails_and_does_not_hold_up_the_others(
    database: Database, new_scheduler: NewScheduler, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = submitted(database, name="broken")
    fine = submitted(database, name="fine", budget={"trials_per_arm": 10})
    propose = ArmStudy.propose

    def breaks(study: ArmStudy):
        if study.search.name == "broken":
            raise RuntimeError("no idea")
        return propose(study)

    monkeypatch.setattr(ArmStudy, "propose", breaks)
    run_search(database, new_scheduler, settings, fine)
    with database.read() as connection:
        states = [search_by_id(connection, search_id) for search_id in (broken, fine)]
    assert [search.state for search in states] == ["failed", "finished"]
    assert "no idea" in states[0].reason


@pytest.mark.parametrize("restart_every", [None, 5])
def test_adaptive_allocation_spends_the_whole_purse_where_the_front_grows(
    database: Database, new_scheduler: NewScheduler, settings: Settings, restart_every: int | None
) -> None:
    search_id = submitted(database, arms=ARMS, allocation="adaptive", sampler="random", budget={"trials_per_arm": 12})
    run_search(database, new_scheduler, settings, search_id, restart_every=restart_every)
    with database.read() as connection:
        spent = {arm.name: arm.spending for arm in arms_of(connection, search_id)}
    assert spent == {"hourglass": 18, "plain": 6}  # half of an even share is left to the other
