"""The comparison of fronts on generated tables, and the whole path on digits, killed in between."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic, sleep

import pytest
from filelock import FileLock
from rich.console import Console
from rich.table import Table

from benchmarks import front
from benchmarks.front import begin_or_go_on, read_run
from benchmarks.front_report import ALL, UNION, Run, figure_of, sentences_of, share_reached, tables_of
from benchmarks.front_space import ARMS, DEFAULT_ARMS, front_search, search_name
from benchmarks.published_table import Configuration, configurations, read_table
from nas_service.client import Client
from nas_service.domain.costs import known_costs
from nas_service.domain.published import published_arm, published_recipe
from nas_service.domain.search import Search
from nas_service.domain.trial import Trial
from tests.benchmarks.tables import BUDGET, DIGITS, a_table
from tests.builders import a_stored_search, a_trial

TASK = "digits_denoising"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def published(arm: str, d_z: int, d_h: int, depth: int, psnr_db: float, seeds: int = 1) -> Configuration:
    params = known_costs(published_arm(arm).architecture(d_z, d_h, depth), DIGITS).parameters_trainable
    return Configuration(arm, d_z, d_h, depth, 1e-3, params, tuple((seed, psnr_db) for seed in range(seeds)))


TABLE = [
    published("hourglass_learned_in", 65, 4, 1, 20.0),  # 8,840 parameters
    published("hourglass_learned_in", 80, 40, 4, 22.0),  # 35,840
    published("hourglass_learned_in", 200, 150, 9, 25.0),  # beyond the limit
    published("conventional_no_in_no_out", 64, 70, 1, 19.0, seeds=5),  # 8,960
    published("conventional_no_in_no_out", 64, 200, 3, 21.0, seeds=5),
]
LIMIT = 40_000


def a_result(trial_id: int, arm: str, cost: int, psnr_db: float, **changes: object) -> Trial:
    metrics = {"eval": {"psnr_db": psnr_db}, "test": {"psnr_db": psnr_db + 0.05}}
    return a_trial(trial_id, cost, psnr_db, arm=arm, metrics=metrics, epochs_done=2, **changes)


def a_run(*trials: Trial) -> Run:
    search = the_search()
    return Run(a_stored_search(**search.model_dump(mode="json")), list(trials), TABLE, published_epochs=2)


def the_search(epochs_per_arm: int = 4, **changes: object) -> Search:
    given = {"arms": DEFAULT_ARMS, "max_parameters": LIMIT, "recipe": published_recipe(BUDGET)} | changes
    return front_search(TASK, TABLE, epochs_per_arm=epochs_per_arm, **given)


def rows_of(table: Table) -> list[list[str]]:
    return [list(row) for row in zip(*(column.cells for column in table.columns), strict=True)]


def test_a_space_ends_where_the_table_or_the_limit_does() -> None:
    arms = the_search(arms=tuple(ARMS)).arms
    ends = {name: (arm.d_z, arm.d_h, arm.depth) for name, arm in arms.items()}
    assert ends["hourglass"] == ((65, 200), (4, 112), (1, 9))  # 113: 2 x 64 x 114 + 2 x 114 x 113 is over
    assert ends["hourglass-plain"] == ((64, 64), (4, 63), (1, 9))
    assert ends["conventional-plain"] == ((64, 64), (70, 200), (1, 3))
    assert all(arm.lr == (1e-4, 3e-3) for arm in arms.values())


def test_within_a_larger_limit_the_table_alone_ends_the_space() -> None:
    assert the_search(max_parameters=10_000_000).arms["hourglass"].d_h == (4, 150)


def test_an_arm_of_which_nothing_was_published_is_refused() -> None:
    with pytest.raises(ValueError, match="the table has no conventional"):
        front_search(TASK, TABLE[:2], ["conventional"], LIMIT, published_recipe(BUDGET), 4)


def test_the_share_counts_what_is_within_their_range() -> None:
    theirs = [(1_000, 22.0), (10_000, 23.0)]  # 22 dB over one decade: 1 above the reference
    assert share_reached(theirs, theirs, reference_db=21.0) == pytest.approx(1.0)
    assert share_reached([(10, 22.0)], theirs, 21.0) == pytest.approx(1.0)  # cheaper, and no better for it there
    assert share_reached([(10, 20.0), (50_000, 30.0)], theirs, 21.0) == 0.0  # too bad, too large
    assert share_reached([(1_000, 21.5), (3_162, 23.0)], theirs, 21.0) == pytest.approx(0.5 * 0.5 + 2 * 0.5, abs=1e-4)
    assert share_reached(theirs, theirs[1:], 21.0) is None  # a single network has no range


def test_within_each_budget_the_best_of_each_side_stands_beside_the_other() -> None:
    run = a_run(a_result(1, "hourglass", 9_000, 20.5), a_result(2, "hourglass-plain", 5_000, 19.0))
    budgets, *_ = tables_of(run)
    first, *_, last = rows_of(budgets)
    assert first == ["8,840", "20.000", "-", "-", "19.000", "-", "19.000", "-1.000"]
    assert last == ["35,840", "22.000", "19.000", "20.500", "19.000", "-", "20.500", "-1.500"]


def test_the_union_front_goes_on_below_the_smallest_published_network() -> None:
    run = a_run(
        a_result(1, "hourglass", 9_000, 20.5),
        a_result(2, "hourglass-plain", 5_000, 19.0),
        a_result(3, "conventional-plain", 9_500, 20.4),  # dominated by the first
    )
    union = tables_of(run)[1]
    assert [(row[0], row[1], row[-1]) for row in rows_of(union)] == [
        ("5,000", "hourglass-plain", "-"),
        ("9,000", "hourglass", "+0.500"),
    ]
    assert union.caption == "1 of its 2 networks are below 8,840 parameters, the smallest published"


def test_what_was_spent_is_counted_on_both_sides() -> None:
    run = a_run(
        a_result(1, "hourglass", 9_000, 20.5, seconds=1800.0), a_trial(2, state="refused", metrics=None, costs=None)
    )
    spent = {row[0]: row[1:] for row in rows_of(tables_of(run)[2])}
    assert spent["hourglass"] == ["1", "2", "2", "1", "0", "0.50"]
    assert spent["published hourglass_learned_in"][:3] == ["3", "6", "4"]
    assert spent["published conventional_no_in_no_out"][:3] == ["10", "20", "10"]


def test_shares_are_printed_for_every_arm_and_the_union() -> None:
    run = a_run(a_result(1, "hourglass", 8_840, 20.0), a_result(2, "hourglass-plain", 8_000, 22.0))
    low = tables_of(run)[-1]
    assert [column.header for column in low.columns] == [
        "ours",
        "conventional_no_in_no_out",
        "hourglass_learned_in",
        ALL,
    ]
    assert [row[0] for row in rows_of(low)] == [*DEFAULT_ARMS, UNION]


def test_wall_time_counts_what_overlaps_once_and_leaves_out_interruptions() -> None:
    times = [[NOON + timedelta(minutes=minute) for minute in span] for span in ((0, 10), (5, 12), (60, 61))]
    trials = [
        a_result(number, "hourglass", 9_000, 20.0, leased_at=begin, finished_at=end)
        for number, (begin, end) in enumerate(times)
    ]
    assert a_run(*trials).wall_time == timedelta(minutes=13)


def test_a_run_without_results_is_reported_too() -> None:
    console = Console(width=200)
    with console.capture() as shown:
        console.print(*tables_of(a_run()), sentences_of(a_run()))
    assert "0 trials completed" in shown.get()
    assert {trace.name for trace in figure_of(a_run()).data} >= {"published hourglass_learned_in", "hourglass-plain"}


def test_the_same_command_goes_on_with_the_search_a_larger_budget_extends_it(served: str) -> None:
    with Client(served) as client:
        search_id = begin_or_go_on(client, the_search())
        client.pause(search_id)
        assert begin_or_go_on(client, the_search(epochs_per_arm=8)) == search_id
        assert begin_or_go_on(client, the_search(epochs_per_arm=4)) == search_id
        held = client.search(search_id)
        assert (held.state, held.budget) == ("running", 8)
        with pytest.raises(ValueError, match="with another seed, sampler; take the same options"):
            begin_or_go_on(client, the_search(seed=1, sampler="random"))


def test_a_folder_without_a_run_is_told_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(a_table(tmp_path)), "--budget", BUDGET, "--folder", str(tmp_path), "--report-only"]
    assert front.main(command) == 2
    assert "holds no run; leave out --report-only" in capsys.readouterr().out


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_command(tmp_path: Path) -> None:
    table, folder = a_table(tmp_path), tmp_path / "run"
    options = ["--budget", BUDGET, "--max-parameters", "0", "--epochs-per-arm", "6", "--workers", "1"]
    command = [sys.executable, front.__file__, str(table), "--folder", str(folder), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    published = configurations(read_table(table), BUDGET)

    def completed() -> dict[int, datetime | None]:
        try:
            run = read_run(folder, search_name(TASK), published, 2)
        except ValueError:
            return {}
        return {trial.id: trial.finished_at for trial in run.completed}

    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = monotonic() + 60
    while not completed() and monotonic() < deadline:
        sleep(0.1)
    first.kill()
    first.wait()
    before = completed()
    with FileLock(folder / "lock", timeout=30):  # the service ends with the program that started it
        pass
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stdout + second.stderr
    assert before
    assert before.items() <= completed().items()
    assert len(completed()) == 9  # three arms, 6 epochs each, 2 a trial
    assert "finished, 9 trials completed" in second.stdout
    again = subprocess.run([*command, "--report-only"], env=environment, capture_output=True, text=True, check=False)
    assert again.stdout in second.stdout
