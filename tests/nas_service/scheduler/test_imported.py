"""Imported trials in the studies: told, never proposed again, the same after a restart."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nas_service.database import Database
from nas_service.database.searches import arms_of, search_by_id
from nas_service.database.trials import history_of_arm, newest_trials
from nas_service.domain.states import TrialState
from nas_service.domain.trial import duplicate_key
from nas_service.optimizer import ArmStudy
from nas_service.scheduler import Scheduler
from nas_service.scheduler.desk import Desk, record_of
from nas_service.settings import Settings
from tests.builders import ARMS, a_search, an_outside_result, brought, completed, submitted
from tests.nas_service.scheduler.fake_workers import run_search

NewScheduler = Callable[[], Scheduler]
MANY = [an_outside_result(20 + d_h / 100, d_h=d_h, depth=1 + d_h % 4) for d_h in range(4, 20)]


@pytest.mark.parametrize("sampler", ["frontier", "tpe", "nsga2"])
def test_a_search_that_began_with_imported_trials_asks_the_same_again(
    database: Database, new_scheduler: NewScheduler, settings: Settings, sampler: str
) -> None:
    changes = {"sampler": sampler, "budget": {"trials_per_arm": 10}}
    search_id = submitted(database, **changes)
    brought(database, search_id, *MANY[:12])
    scheduler = new_scheduler()
    scheduler.tick()
    brought(database, search_id, *MANY[12:])
    run_search(database, new_scheduler, settings, search_id, restart_every=3)
    with database.read() as connection:
        rows = history_of_arm(connection, search_id, "hourglass")
        trivial = search_by_id(connection, search_id).trivial
    spec = a_search(**changes)
    first_end = min(row.ended_event for row in rows if row.origin != "imported" and row.ended_event)
    for row in rows:
        if row.asked_after is None:
            continue
        known = trivial if row.asked_after.event >= first_end else None
        before = [record_of(spec, earlier) for earlier in rows[: row.number]]
        proposal = ArmStudy.rebuild(spec, "hourglass", before, known).ask()
        assert (proposal.architecture, proposal.lr) == (row.architecture, row.lr), row.number


@pytest.mark.parametrize("restart_every", [None, 2])
def test_imported_trials_cost_nothing_and_are_never_proposed_again(
    database: Database, new_scheduler: NewScheduler, settings: Settings, restart_every: int | None
) -> None:
    tiny = {"family": "hourglass", "d_z": [65, 67], "d_h": 8, "depth": [1, 3], "lr": 1e-3}
    search_id = submitted(database, arms={"hourglass": tiny}, sampler="tpe", budget={"trials_per_arm": 3})
    rows = [an_outside_result(d_z=d_z, depth=depth) for d_z in (65, 66) for depth in (1, 2, 3)]
    brought(database, search_id, *rows)
    run_search(database, new_scheduler, settings, search_id, restart_every=restart_every)
    with database.read() as connection:
        (arm,) = arms_of(connection, search_id)
        trials = newest_trials(connection, search_id, 100, state=TrialState.COMPLETED)
    assert (arm.spending, arm.imported, arm.trials[TrialState.COMPLETED]) == (3, 6, 9)
    keys = [duplicate_key(trial.architecture, trial.lr) for trial in trials]
    assert len(set(keys)) == 9
    assert {trial.architecture.d_z for trial in trials if trial.origin != "imported"} == {67}


def test_results_that_come_while_the_scheduler_works_are_told_at_once(
    database: Database, new_scheduler: NewScheduler, tmp_path: Path
) -> None:
    search_id = submitted(database)
    with database.read() as connection:
        desk = Desk.load(connection, search_id)
    brought(database, search_id, *MANY[:3])
    completed(database, tmp_path, search_id, d_h=30)
    with database.read() as connection:
        desk.catch_up(connection)
        later = Desk.load(connection, search_id)
    assert desk.told == later.told
    for told in (desk, later):
        assert [number for _, number, _ in told.unwritten] == [0, 1, 2, 3]
    assert desk.propose("hourglass") == later.propose("hourglass")


def test_imported_trials_do_not_draw_an_adaptive_purse(
    database: Database, new_scheduler: NewScheduler, settings: Settings
) -> None:
    search_id = submitted(database, arms=ARMS, allocation="adaptive", budget={"trials_per_arm": 4})
    brought(database, search_id, *MANY)
    run_search(database, new_scheduler, settings, search_id, restart_every=3)
    with database.read() as connection:
        assert sum(arm.spending for arm in arms_of(connection, search_id)) == 8
        assert Desk.load(connection, search_id).growth.rate("hourglass") < float("inf")
