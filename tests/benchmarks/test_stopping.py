import json
from pathlib import Path

import pytest

from benchmarks import stopping
from benchmarks.stopping import halve, replays
from benchmarks.stopping_runs import Run, Runs, branch_epochs, fresh_runs, published_runs, trained
from nas_service.domain.stopping import FEWEST_PEERS, rungs_of
from nas_service.domain.tasks import Dataset
from nas_service.optimizer import ArmStudy
from tests.builders import a_search
from workers.training.datasets import load_dataset

ROW = {"task": "mnist_denoising", "arm": "hourglass_learned_in", "d_z": 785, "d_h": 8, "depth": 1, "lr": 1e-3}


def a_run(psnr_db: float, parameters: int = 1000) -> Run:
    """A training that shows its quality from the first rung on."""
    return Run("a", parameters, psnr_db, {"raw": dict.fromkeys((1, 3), psnr_db)})


def some_runs(count: int = 20, further: dict[int, int] | None = None, begins_anew: bool = False) -> Runs:
    return Runs(9, tuple(a_run(20 - n / 10) for n in range(count)), {"raw": (further or {}, begins_anew)})


@pytest.mark.parametrize(
    ("further", "begins_anew", "whole", "short"),
    [({}, False, 9, 1), ({1: 1, 3: 1}, False, 9 + 2, 1 + 1), ({1: 1, 3: 3}, True, 9 + 4, 1)],
)
def test_what_a_way_of_looking_costs_is_counted(
    further: dict[int, int], begins_anew: bool, whole: int, short: int
) -> None:
    runs = some_runs(20, further, begins_anew)
    epochs, survivors = halve(runs, runs.runs, "raw")
    assert survivors == list(runs.runs[:FEWEST_PEERS])  # the best came first
    assert epochs == FEWEST_PEERS * whole + (20 - FEWEST_PEERS) * short


def test_the_figures_are_shares_of_the_same_trials_without_stopping() -> None:
    by_cost, blind = replays(some_runs(), trials=20, orders=5)
    assert by_cost.outcomes == blind.outcomes  # all cost the same
    assert by_cost.mean("hypervolume") == 1
    assert by_cost.correlations == (1, 1)
    assert by_cost.meets_the_aim == (by_cost.mean("epochs") <= 0.5)


def test_the_table_of_published_curves_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "curves.jsonl"
    rows = [ROW | {"epochs": 30, "depth": n, "train_mse": [0.1 / n] * 30, "eval_mse": [0.01 / n]} for n in range(1, 11)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, ROW | {"epochs": 100}]))
    assert len(published_runs(path, 30, rungs_of(30)).runs) == 10
    assert stopping.main(["--published", str(path), "--trials", "10", "--orders", "2"]) == 0
    assert "100.0 (100.0 to 100.0)" in capsys.readouterr().out  # every larger one is better: none is stopped


def test_a_fresh_training_is_seen_in_every_way_at_every_rung() -> None:
    search = a_search(stopping="halving", recipe={"epochs": 9, "batch_size": 256})
    proposal = ArmStudy(search, "hourglass").propose().accepted
    data = load_dataset(Dataset(name="digits"), None, fetch=False)
    run = trained(search, "hourglass", proposal, data)
    assert {way: tuple(at) for way, at in run.seen.items()} == dict.fromkeys(run.seen, (1, 3))
    assert run.psnr_db > run.seen["branch"][3] > run.seen["raw"][3]
    assert [branch_epochs(rung) for rung in (1, 3, 10)] == [1, 1, 3]


def test_trainings_that_are_kept_are_not_trained_again(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    seen = {way: dict.fromkeys((1, 3, 10), 20.0) for way in ("raw", "averaged", "branch", "annealed")}
    kept = [
        {"number": number, "arm": arm, "parameters": 1000, "psnr_db": 20.0 if number else None, "seen": seen}
        for number in range(5)
        for arm in ("hourglass", "conventional-plain")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept))
    runs = fresh_runs(path, 5, data_dir=tmp_path)
    assert len(runs.runs) == 8  # without those that diverged
    assert runs.runs[0].seen["averaged"] == {1: 20.0, 3: 20.0, 10: 20.0}
