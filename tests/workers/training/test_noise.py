import pytest
import torch
from scipy.stats import kstest

from workers.training.noise import counted_noise, derived_seed


def noise(
    samples: list[int], seed: int = 1, stream: int = 0, epoch: int = 0, visit: int = 0, size: int = 50
) -> torch.Tensor:
    index = torch.tensor(samples)
    return counted_noise(seed, stream, epoch, torch.full_like(index, visit), index, size)


def test_an_images_noise_does_not_depend_on_its_batch() -> None:
    whole = noise([3, 1, 4, 15, 9, 2, 6])
    assert torch.equal(whole[2:5], noise([4, 15, 9]))
    assert torch.equal(whole[3], noise([15])[0])


@pytest.mark.parametrize("change", [{"seed": 2}, {"stream": 1}, {"epoch": 1}, {"visit": 1}])
def test_each_part_of_the_counter_changes_the_noise(change: dict[str, int]) -> None:
    first, other = noise(list(range(200))), noise(list(range(200)), **change)
    assert abs(float((first * other).mean())) < 0.05  # 10,000 products: 5 standard deviations


def test_the_noise_is_standard_normal() -> None:
    values = noise(list(range(2000)), size=99).double().flatten()
    assert float(values.mean()) == pytest.approx(0, abs=0.01)
    assert float(values.std()) == pytest.approx(1, abs=0.01)
    assert kstest(values.numpy(), "norm").pvalue > 1e-3


def test_neighbouring_pixels_and_images_are_unrelated() -> None:
    values = noise(list(range(1000)), size=64)
    assert abs(float((values[:, 1:] * values[:, :-1]).mean())) < 0.02
    assert abs(float((values[1:] * values[:-1]).mean())) < 0.02


def test_the_bits_are_those_of_every_earlier_version() -> None:
    values = noise([0, 49_999], seed=42, epoch=3, size=2).flatten().tolist()
    assert [round(value, 5) for value in values] == [0.18438, 0.73153, -0.52996, -1.37952]


def test_derived_seeds_differ_by_every_part() -> None:
    seeds = {derived_seed(seed, purpose, epoch) for seed in range(5) for purpose in range(5) for epoch in range(5)}
    assert len(seeds) == 125
    assert all(0 <= seed < 2**63 for seed in seeds)
