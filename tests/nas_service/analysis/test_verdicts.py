import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from benchmarks.verdicts import SCENARIOS, answer
from nas_service.analysis.noise import SeedNoise
from nas_service.analysis.selection import NONE, Selection, Shape
from nas_service.analysis.verdicts import Word, budget_grid, contest
from nas_service.domain.published_table import configurations, published_runs

REFERENCE = (1e7, 20.0)


def a_shape(cost: float, *seeds: float, measured: float | None = None) -> Shape:
    """Judged by fresh seeds where `measured` is given, else by those that it is selected by."""
    own = float(np.mean(seeds)) if measured is None else measured
    return Shape(f"{cost:g}", cost, own, len(seeds) if measured is None else 1, seeds, measured is not None)


def seeds_of(generator: np.random.Generator, deviation: float, shapes: int, count: int) -> list[list[float]]:
    return (deviation * generator.standard_normal((shapes, count))).tolist()


def test_noise_that_all_shapes_share_is_found() -> None:
    noise = SeedNoise(seeds_of(np.random.default_rng(0), 0.02, shapes=30, count=5))

    assert np.sqrt(noise.prior.value) == pytest.approx(0.02, rel=0.15)
    assert noise.prior.df > 20


def test_a_shape_with_one_seed_has_the_common_noise() -> None:
    noise = SeedNoise(seeds_of(np.random.default_rng(0), 0.02, shapes=10, count=3))

    assert noise.of([24.0]) == noise.prior


def test_noise_that_differs_from_shape_to_shape_is_drawn_to_the_common_one_by_half_a_shape_or_so() -> None:
    generator = np.random.default_rng(0)
    quiet, loud = seeds_of(generator, 0.01, 20, 5), seeds_of(generator, 0.1, 20, 5)
    noise = SeedNoise(quiet + loud)

    assert noise.prior.df < 4
    assert np.sqrt(noise.of(quiet[0]).value) < 0.03 < 0.06 < np.sqrt(noise.of(loud[0]).value)


def test_noise_needs_a_shape_with_several_seeds() -> None:
    with pytest.raises(ValueError, match="several seeds"):
        SeedNoise([[1.0], [2.0]])


def test_the_best_affordable_shape_is_selected() -> None:
    arm = Selection([a_shape(30, 2.0), a_shape(10, 3.0), a_shape(20, 1.0), a_shape(40, 4.0)])

    selected = arm.at(np.array([5.0, 10.0, 35.0, 40.0]))

    assert selected[0] == NONE
    assert [arm.shapes[place].cost for place in selected[1:]] == [10, 10, 40]


def test_of_ten_equal_shapes_the_best_is_flattered_by_the_expected_maximum() -> None:
    """1.54 standard deviations; the curse is found from the measured qualities alone, so on average and roughly."""
    noise = SeedNoise(seeds_of(np.random.default_rng(0), 1.0, shapes=200, count=5))
    measured = np.random.default_rng(1).standard_normal((40, 10))
    arms = [[a_shape(cost, quality) for cost, quality in enumerate(row, start=1)] for row in measured]

    curses = np.array([Selection(arm).curse(np.array([1.0, 10.0]), noise) for arm in arms])

    assert curses[:, 0] == pytest.approx(0.0, abs=0.1)
    assert curses[:, 1].mean() == pytest.approx(1.54, abs=0.4)


def test_a_winner_far_ahead_is_not_flattered() -> None:
    noise = SeedNoise(seeds_of(np.random.default_rng(0), 1.0, shapes=200, count=5))

    curse = Selection([a_shape(1, 0.0), a_shape(2, 100.0)]).curse(np.array([2.0]), noise)

    assert curse == pytest.approx([0.0], abs=0.1)


def test_the_interval_of_fresh_seeds_is_that_of_a_t_test() -> None:
    """Two shapes only: nothing to moderate, so it is the test with a pooled variance."""
    ours, theirs = (24.1, 24.2, 24.3, 24.2, 24.2), (24.0, 24.1, 24.0, 23.9, 24.0)
    found = contest(
        [a_shape(10, *ours, measured=24.5)], [a_shape(10, *theirs, measured=24.1)], np.array([10.0]), REFERENCE
    )

    gap = found.differences[0].quality
    pooled = (np.var(ours, ddof=1) + np.var(theirs, ddof=1)) / 2
    reach = student.ppf(0.975, 8) * np.sqrt(pooled * 2 / 5)
    assert gap is not None
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.2, 0.2 - reach, 0.2 + reach))
    assert found.differences[0].word is Word.BETTER


def test_without_several_seeds_nothing_is_claimed() -> None:
    found = contest([a_shape(10, 25.0), a_shape(20, 26.0)], [a_shape(10, 24.0)], np.array([10.0, 20.0]), REFERENCE)

    assert {row.word for row in found.differences} == {Word.NO_INTERVAL}
    assert found.hypervolume_word is Word.NO_INTERVAL
    assert found.noise is None


def test_where_one_arm_has_no_shape_the_other_is_alone() -> None:
    cheap, dear = [a_shape(10, 24.0, 24.1)], [a_shape(20, 25.0, 25.1)]
    found = contest(cheap, dear, np.array([10.0, 20.0]), REFERENCE)

    assert [row.word for row in found.differences] == [Word.ALONE, Word.WORSE]
    assert found.differences[0].second is None


def test_the_hypervolume_is_the_area_under_what_is_selected() -> None:
    ours = [a_shape(1e5, 22.0, 22.0, 22.1), a_shape(1e6, 23.0, 23.0, 23.1)]
    theirs = [a_shape(1e5, 21.0, 21.0, 21.1)]
    found = contest(ours, theirs, np.array([1e6]), reference=(1e7, 20.0))

    first, second = (volume.value for volume in found.hypervolumes)
    assert first == pytest.approx(1 * 2.03333 + 1 * 3.03333, abs=1e-4)
    assert second == pytest.approx(2 * 1.03333, abs=1e-4)
    assert found.hypervolume.value == pytest.approx(first - second)


def test_an_interval_for_all_budgets_at_once_is_wider_but_not_for_one_budget() -> None:
    generator = np.random.default_rng(3)
    arms = [[a_shape(cost, *(cost + generator.normal(0, 0.1, 5)), measured=cost) for cost in range(1, 9)] for _ in "ab"]

    many = contest(*arms, np.arange(1.0, 9.0), REFERENCE).differences[0]
    one = contest(*arms, np.array([1.0]), REFERENCE).differences[0]

    assert many.family.high - many.family.low > 1.2 * (many.quality.high - many.quality.low)
    assert one.family.high - one.family.low == pytest.approx(one.quality.high - one.quality.low, rel=0.03)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_on_made_up_searches_intervals_hold_the_truth_and_better_is_seldom_false(scenario) -> None:
    answers = [answer(scenario, seed) for seed in range(25)]
    gaps = np.concatenate([one.gaps for one in answers])
    better = np.concatenate([one.is_better for one in answers])

    assert np.concatenate([one.covered for one in answers]).mean() > 0.85
    assert better[gaps <= 0].mean() < 0.05
    assert better[gaps > 5 * scenario.unit].mean() > 0.9


def published_shapes(path: Path, arm: str) -> list[Shape]:
    rows = configurations(published_runs(path.read_text().splitlines()), "bs128_ep30")
    return [
        Shape(row.name, row.params, row.mean_psnr_db, len(row.psnr_db), tuple(psnr for _, psnr in row.psnr_db), False)
        for row in rows
        if row.arm == arm
    ]


def test_the_published_arms_are_judged_as_their_runs_say() -> None:
    path = Path(os.environ.get("HOURGLASS_DATA_DIR", "")) / "published" / "mnist_denoising.csv"
    if not path.exists():
        pytest.skip("needs HOURGLASS_DATA_DIR/published/mnist_denoising.csv")
    ours, theirs = (published_shapes(path, arm) for arm in ("hourglass_learned_in", "conventional_no_in_no_out"))
    below, between, above = np.geomspace(1.27e6, 1.5e6, 4), np.geomspace(1.6e6, 6.9e6, 8), np.array([9.1e6, 1.3e7])

    found = contest(ours, theirs, np.concatenate([below, between, above]), (2e7, 22.0)).differences

    words = [row.word for row in found]
    assert words == [Word.WORSE] * 4 + [Word.BETTER] * 8 + [Word.UNDECIDED] * 2
    best = {row.budget: row for row in found}[1.3e7]
    assert best.first.shape.measured == pytest.approx(max(shape.measured for shape in ours if shape.cost <= 1.3e7))
    assert (round(best.first.shape.measured, 3), round(best.second.shape.measured, 3)) == (24.359, 24.37)


def test_a_grid_begins_where_every_arm_has_a_shape() -> None:
    grid = budget_grid([[a_shape(10, 1.0), a_shape(1000, 2.0)], [a_shape(20, 1.0)]], count=3)

    assert grid == pytest.approx([20, np.sqrt(20 * 1000), 1000])
