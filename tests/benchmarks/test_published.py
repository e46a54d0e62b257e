import csv
from pathlib import Path

import pytest

from benchmarks import published
from benchmarks.published import Comparison, counts_text, summary_of
from benchmarks.published_table import Configuration, choose, configurations, disagreements, find, read_table
from nas_service.domain.architecture import TaskShape
from nas_service.domain.costs import known_costs
from nas_service.domain.published import published_arm
from nas_service.domain.published_table import COLUMNS

DIGITS = TaskShape(d_x=64, d_y=64)
BUDGET = "bs128_ep2"
SIZES = {
    "hourglass_learned_in": [(65, 8, depth) for depth in range(1, 11)],
    "hourglass_fixed_in": [(65, 8, depth) for depth in range(1, 6)],
    "conventional_no_in_no_out": [(64, 65, depth) for depth in range(1, 4)],
}


def a_table(folder: Path, wrong_by: int = 0) -> Path:
    """Every shape with two learning rates, the second better by 1 dB, and two seeds; the first count may be off."""
    path = folder / "digits_denoising.csv"
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for arm, sizes in SIZES.items():
            for d_z, d_h, depth in sizes:
                params = known_costs(published_arm(arm).architecture(d_z, d_h, depth), DIGITS).parameters_trainable
                for lr, psnr in ((1e-4, 20), (1e-3, 21)):
                    for seed in (1, 2):
                        sizes_and_lr = (d_z, d_h, depth, lr, seed, params + wrong_by)
                        rows.writerow(["digits_denoising", BUDGET, arm, *sizes_and_lr, "eval_psnr", psnr + seed / 10])
                        wrong_by = 0
    return path


def test_every_count_of_weights_is_held_against_ours(tmp_path: Path) -> None:
    assert disagreements(read_table(a_table(tmp_path))) == []
    ((run, ours),) = disagreements(read_table(a_table(tmp_path, wrong_by=7)))
    assert run.params - ours == 7
    assert "71 of 72 published counts are ours\n  hourglass_learned_in 65/8 x1" in counts_text(
        tmp_path / "digits_denoising.csv"
    )


def test_the_published_figure_is_the_mean_over_seeds(tmp_path: Path) -> None:
    row = find(configurations(read_table(a_table(tmp_path)), BUDGET), "hourglass_fixed_in:65/8x2:0.001")
    assert row.psnr_db == ((1, 21.1), (2, 21.2))
    assert row.mean_psnr_db == pytest.approx(21.15)


def test_rows_are_spread_over_arms_and_sizes(tmp_path: Path) -> None:
    rows = choose(configurations(read_table(a_table(tmp_path)), BUDGET), 6)
    assert [(row.arm, row.depth) for row in rows] == [
        ("hourglass_learned_in", 2),
        ("hourglass_learned_in", 9),
        ("hourglass_fixed_in", 1),
        ("hourglass_fixed_in", 5),
        ("conventional_no_in_no_out", 1),
        ("conventional_no_in_no_out", 3),
    ]
    assert {row.lr for row in rows} == {1e-3}  # the best of each shape


@pytest.mark.parametrize("count", [1, 2, 3, 4, 17, 18, 99])
def test_as_many_rows_are_chosen_as_there_are(tmp_path: Path, count: int) -> None:
    rows = choose(configurations(read_table(a_table(tmp_path)), BUDGET), count)
    assert len(set(rows)) == len(rows) == min(count, 18)


def test_a_table_without_the_budget_the_row_or_a_column_is_refused(tmp_path: Path) -> None:
    runs = read_table(a_table(tmp_path))
    with pytest.raises(ValueError, match="it has bs128_ep2"):
        configurations(runs, "bs128_ep30")
    with pytest.raises(ValueError, match="ARM:D_Z/D_HxDEPTH:LR"):
        find(configurations(runs, BUDGET), "hourglass_learned_in:65/8x99:0.001")
    (tmp_path / "short.csv").write_text("task,arm\n")
    with pytest.raises(ValueError, match="lacks the columns budget"):
        read_table(tmp_path / "short.csv")


def test_differences_are_summed_up() -> None:
    row = Configuration("hourglass_learned_in", 65, 8, 1, 1e-3, 0, psnr_db=((1, 20.0), (2, 20.2)))
    comparisons = [Comparison(row, (20.2,), 1.0), Comparison(row, (19.8, 19.8), 1.0)]
    assert summary_of(comparisons) == "absolute difference: mean 0.200 dB, max 0.300 dB"


@pytest.mark.usefixtures("threads_for_processes")
def test_chosen_rows_are_trained_and_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = a_table(tmp_path)
    assert published.main([str(table), "--budget", BUDGET, "--rows", "3", "--precision", "fp32"]) == 0
    out = capsys.readouterr().out
    assert "72 of 72" in out
    assert out.count(" seed 43: ") == 3
    assert "NOT COMPARABLE" not in out


@pytest.mark.usefixtures("threads_for_processes")
def test_fewer_epochs_are_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = "hourglass_learned_in:65/8x1:0.001"
    given = [str(a_table(tmp_path)), "--budget", BUDGET, "--row", row, "--seeds", "2", "--epochs", "1"]
    assert published.main(given) == 0
    out = capsys.readouterr().out
    assert f"{row} seed 43: " in out
    assert f"{row} seed 44: " in out
    assert "NOT COMPARABLE" in out


def test_a_fault_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert published.main([str(a_table(tmp_path))]) == 2
    assert "error: the table has no eval_psnr of budget 'bs128_ep30'" in capsys.readouterr().out
