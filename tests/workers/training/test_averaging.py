from collections.abc import Callable
from typing import Any

import pytest
import torch

from nas_service.domain.architecture import Architecture, TaskShape
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Denoising
from workers.training.averaging import EpochAverage
from workers.training.datasets import LoadedDataset
from workers.training.network import Network
from workers.training.train import Training, train_replicates

CPU = torch.device("cpu")
Reports = dict[tuple[int, int], dict[str, float]]


@pytest.fixture
def trained(
    digits: LoadedDataset,
    denoising: Denoising,
    an_architecture: Callable[..., Architecture],
    a_recipe: Callable[..., Recipe],
) -> Callable[..., tuple[list[Training], Reports]]:
    """Train, and keep what was reported: {(replicate, epoch from 1): metrics}."""

    def run(lr: float = 3e-3, seeds: tuple[int, ...] = (42,), epochs: int = 3, **options: Any):
        seen: Reports = {}

        def note(replicate: int, epoch: int, metrics: dict[str, float]) -> None:
            seen[replicate, epoch + 1] = metrics

        recipe = a_recipe(epochs=epochs, batch_size=32)
        ended = train_replicates(an_architecture(), denoising, recipe, lr, seeds, digits, CPU, note, **options)
        return ended, seen

    return run


def test_averaging_leaves_the_training_as_it_is_to_the_bit(trained) -> None:
    (plain,), _ = trained()
    (watched,), _ = trained(rungs=(1, 3))
    assert watched.metrics == plain.metrics
    weights, same = plain.network.state_dict(), watched.network.state_dict()
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_averaged_weights_are_measured_after_the_rungs_epochs_only(trained) -> None:
    _, seen = trained(rungs=(1, 3), seeds=(42, 43))
    assert {at for at, metrics in seen.items() if "psnr_db_average" in metrics} == {(0, 1), (1, 1), (0, 3), (1, 3)}
    averages = {"psnr_db_average", "mse_average", "ssim_average"}
    assert seen[0, 1].keys() - seen[0, 2].keys() == averages
    assert seen[0, 1]["psnr_db_average"] != seen[1, 1]["psnr_db_average"]


def test_a_resumed_training_reports_the_same_averages(trained) -> None:
    states = []
    _, whole = trained(rungs=(3,), on_state=states.append)
    _, resumed = trained(rungs=(3,), resume_from=states[1])
    assert resumed[0, 3] == whole[0, 3]


def test_of_a_large_learning_rate_the_average_is_better_than_the_weights(trained) -> None:
    _, seen = trained(lr=2e-2, epochs=8, rungs=(4,))
    assert seen[0, 4]["psnr_db_average"] > seen[0, 4]["psnr_db"] + 0.3


def test_it_is_the_mean_over_the_second_half_of_the_steps(an_architecture: Callable[..., Architecture]) -> None:
    network = Network(an_architecture(), TaskShape(d_x=64, d_y=64), 42)
    weight = network.w_out
    average = EpochAverage(network, steps=5)
    for value in (100.0, 200.0, 1.0, 2.0, 6.0):
        weight.data.fill_(value)
        average.add()
    seen_after_changes: list[float] = []
    with average.in_the_network(lambda: seen_after_changes.append(weight.mean().item())):
        assert torch.allclose(weight, torch.full_like(weight, 3.0))
    assert torch.equal(weight, torch.full_like(weight, 6.0))
    assert seen_after_changes == pytest.approx([3.0, 6.0])
