import os
from pathlib import Path

import pytest

from nas_service.analysis.pairs import Trained, pairs
from nas_service.domain.architecture import Architecture
from nas_service.domain.published_table import configurations, published_runs


def trained(d_h: int, *seeds: float, w_in: str = "learned", seconds: float = 1.0) -> Trained:
    shape = Architecture(family="hourglass", d_z=100, d_h=d_h, depth=2, w_in=w_in)
    return Trained(shape, seeds, {"train_seconds": seconds})


def test_only_what_both_arms_have_is_paired() -> None:
    found = pairs([trained(10, 24.0), trained(20, 24.0)], [trained(20, 23.0), trained(30, 23.0)])

    assert [pair.sizes for pair in found] == [(100, 20, 2)]


def test_each_arm_stands_with_its_best_learning_rate() -> None:
    found = pairs([trained(10, 23.0), trained(10, 24.0)], [trained(10, 25.0), trained(10, 22.0)])

    assert found[0].quality.value == pytest.approx(-1.0)


def test_costs_are_given_as_ratios() -> None:
    found = pairs([trained(10, 24.0, seconds=1.5)], [trained(10, 24.0, seconds=2.0)])

    assert found[0].ratios == {"train_seconds": 0.75}


def test_a_difference_beyond_the_noise_of_seeds_is_told_apart() -> None:
    fixed = [trained(10, 23.0, 23.1, 22.9, w_in="fixed_uniform"), trained(20, 24.0, 24.1, 23.9, w_in="fixed_uniform")]
    learned = [trained(10, 24.0, 24.1, 23.9), trained(20, 24.02, 24.1, 23.94)]

    assert [pair.quality.sign for pair in pairs(fixed, learned)] == [-1, 0]


def test_without_several_seeds_there_is_no_interval() -> None:
    assert pairs([trained(10, 24.0)], [trained(10, 23.0)])[0].quality.low is None


def test_a_published_frozen_projection_loses_at_every_shape_that_both_have() -> None:
    path = Path(os.environ.get("HOURGLASS_DATA_DIR", "")) / "published" / "mnist_denoising.csv"
    if not path.exists():
        pytest.skip("needs HOURGLASS_DATA_DIR/published/mnist_denoising.csv")
    rows = configurations(published_runs(path.read_text().splitlines()), "bs128_ep30")
    arms: dict[str, list[Trained]] = {}
    for row in rows:
        arms.setdefault(row.arm, []).append(Trained(row.architecture, tuple(psnr for _, psnr in row.psnr_db), {}))

    found = pairs(arms["hourglass_fixed_in"], arms["hourglass_learned_in"])

    assert len(found) == 20
    assert {pair.quality.sign for pair in found} == {-1}
    assert -2.0 < min(pair.quality.value for pair in found) < max(pair.quality.value for pair in found) < -0.3
