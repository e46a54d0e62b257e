from math import nan
from pathlib import Path
from typing import Any

import pytest

from nas_service.analysis.tables import csv_lines
from nas_service.database import Database
from nas_service.database.events import events_after
from nas_service.database.searches import arms_of
from nas_service.database.trials import front_trials, newest_trials
from nas_service.domain.states import TrialState
from nas_service.lifecycle import control
from nas_service.lifecycle.errors import Conflict, Unsuitable
from tests.builders import ARMS, an_outside_result, brought, completed, enqueued, submitted


def faults_of(database: Database, search_id: int, *changes: dict[str, Any]) -> dict[str, str]:
    with pytest.raises(Unsuitable) as refused:
        brought(database, search_id, *(an_outside_result(**change) for change in changes))
    return {fault.field: fault.message for fault in refused.value.faults}


def test_results_become_completed_trials_outside_the_budget(each_database: Database) -> None:
    search_id = submitted(each_database, arms=ARMS)
    rows = [an_outside_result(), an_outside_result(arm="plain", d_z=64, d_h=70), an_outside_result(21.0, d_h=9)]
    assert brought(each_database, search_id, *rows).added == 3
    with each_database.read() as connection:
        trials = newest_trials(connection, search_id, 10)
        arms = arms_of(connection, search_id)
        events = [event for event in events_after(connection, search_id, 0) if event.kind == "trial_completed"]
    assert [(trial.arm, trial.number) for trial in trials] == [("plain", 0), ("hourglass", 1), ("hourglass", 0)]
    assert {(trial.state, trial.origin, trial.message) for trial in trials} == {
        ("completed", "imported", "imported from a paper")
    }
    assert trials[-1].costs.parameters_trainable == 2 * 64 * 65 + 2 * 65 * 8
    assert trials[-1].costs.train_flops > 0
    assert [(arm.spending, arm.trials[TrialState.COMPLETED], arm.imported) for arm in arms] == [(0, 2, 2), (0, 1, 1)]
    assert [(event.trial_id, event.data["origin"]) for event in events] == [
        (trial.id, "imported") for trial in reversed(trials)
    ]
    assert ",imported," in "".join(csv_lines(trials))


def test_they_take_their_place_on_the_front(each_database: Database, tmp_path: Path) -> None:
    search_id = submitted(each_database)
    own = completed(each_database, tmp_path, search_id, 20.0, d_h=9)
    brought(each_database, search_id, an_outside_result(19.0, d_h=30), an_outside_result(21.0, d_h=8))
    with each_database.read() as connection:
        (best,) = front_trials(connection, search_id)
        last = events_after(connection, search_id, 0)[-1]
    assert (best.origin, best.architecture.d_h) == ("imported", 8)
    assert (last.data["on_front"], last.data["off_front"]) == (True, [own])


def test_the_same_results_again_change_nothing(each_database: Database) -> None:
    search_id = submitted(each_database)
    rows = [an_outside_result(), an_outside_result(d_h=9)]
    brought(each_database, search_id, *rows)
    again = brought(each_database, search_id, *rows, an_outside_result(d_h=10))
    assert (again.added, again.already_there) == (1, 2)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"arm": "wide"}, ".arm", "there is no arm 'wide'; the search has hourglass, plain"),
        ({"d_h": 70}, ".d_h", "d_h must be below d_z in an hourglass (got d_h=70, d_z=65)"),
        ({"d_z": 200}, ".d_z", "this arm has d_z in [65, 128] (got 200)"),
        ({"lr": 0.1}, ".lr", "this arm has lr [0.001, 0.01] (got 0.1)"),
        ({"d_h": 32, "depth": 4}, "", "limits allow max_parameters 20,000 (this has 24,960 parameters"),
        ({"metrics": {"eval": {"ssim": 0.5}}}, ".metrics", "lacks metrics.eval.psnr_db"),
        ({"metrics": {"eval": {"psnr_db": nan}}}, ".metrics.eval.psnr_db", "must be finite (got nan)"),
        ({"metrics": {"eval": {"psnr_db": 1, "x": -nan}}}, ".metrics.eval.x", "must be finite (got nan)"),
        ({"d_h": 11}, "", "already, as number 0"),
        ({}, "", "trains the same as results.0"),
    ],
)
def test_a_result_that_does_not_suit_is_named(
    database: Database, changes: dict[str, Any], field: str, message: str
) -> None:
    search_id = submitted(database, arms=ARMS, limits={"max_parameters": 20_000})
    enqueued(database, search_id, d_h=11)
    faults = faults_of(database, search_id, {}, changes)
    assert message in faults[f"results.1{field}"]


def test_all_faults_are_named_together_and_nothing_is_stored(each_database: Database) -> None:
    search_id = submitted(each_database, arms=ARMS)
    with pytest.raises(Unsuitable, match="2 of 3 results do not suit the search, so nothing was stored"):
        brought(each_database, search_id, *(an_outside_result(d_h=d_h, depth=d_h) for d_h in (3, 4, 5)))
    faults = faults_of(each_database, search_id, {"d_z": 1, "depth": 9}, {}, {"arm": "wide", "metrics": {"eval": {}}})
    assert set(faults) == {f"results.{name}" for name in ("0.d_h", "0.d_z", "0.depth", "2.arm", "2.metrics")}
    with each_database.read() as connection:
        assert newest_trials(connection, search_id, 10) == []
        assert len(events_after(connection, search_id, 0)) == 1


def test_other_metrics_of_what_is_there_contradict_it(database: Database) -> None:
    search_id = submitted(database)
    brought(database, search_id, an_outside_result(20.0))
    assert "already, as number 0" in faults_of(database, search_id, {"psnr_db": 21.0})["results.0"]


def test_an_arm_of_several_learning_rates_takes_the_best_of_them_once(database: Database) -> None:
    arms = {"hourglass": ARMS["hourglass"] | {"lr": [1e-3, 2e-3, 3e-3]}}
    search_id = submitted(database, arms=arms)
    brought(database, search_id, an_outside_result(lr=2e-3))
    faults = faults_of(database, search_id, {"lr": 1e-3}, {"lr": 4e-3, "d_h": 9})
    assert "already" in faults["results.0"]
    assert "(got 0.004)" in faults["results.1.lr"]


def test_a_finished_search_takes_results_and_a_cancelled_one_does_not(each_database: Database, tmp_path: Path) -> None:
    search_id = submitted(each_database, budget={"trials_per_arm": 1})
    completed(each_database, tmp_path, search_id)
    with each_database.write() as connection:
        assert control.finish_if_done(connection, search_id)
    assert brought(each_database, search_id, an_outside_result(d_h=9)).added == 1
    other = submitted(each_database)
    with each_database.write() as connection:
        control.cancel(connection, other)
    with pytest.raises(Conflict, match="is cancelled and cannot run on"):
        brought(each_database, other, an_outside_result())
