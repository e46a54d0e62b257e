"""Latency, memory and seconds as a device measures them: sane, and what a trial brings."""

from collections.abc import Callable
from pathlib import Path
from time import sleep

import pytest
import torch

from nas_service.domain.architecture import Architecture, TaskShape
from nas_service.domain.objectives import MEASURED_COSTS
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Denoising, GenerativeClassification
from workers.training.datasets import LoadedDataset
from workers.training.device_costs import measure_device_costs
from workers.training.latency import measure_latency
from workers.training.network import Network
from workers.training.peak_memory import measure_peak_memory
from workers.training.run_trial import run_trial
from workers.training.train import Stopped, train
from workers.training.turns import Turns

CPU = torch.device("cpu")
DIGITS = TaskShape(d_x=64, d_y=64)
AnArchitecture = Callable[..., Architecture]
ARecipe = Callable[..., Recipe]


def never() -> bool:
    return False


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_wide_network_is_slower_than_a_tiny_one_and_many_examples_than_one(
    an_architecture: AnArchitecture, a_recipe: ARecipe, precision: str
) -> None:
    recipe = a_recipe(precision=precision)
    tiny = Network(an_architecture(d_z=65, d_h=4, depth=1), DIGITS, 42)
    wide = Network(an_architecture(d_z=1024, d_h=512, depth=4), DIGITS, 42)
    tiny_1, wide_1, wide_256 = (
        measure_latency(network, batch, recipe, CPU).median_ms for network, batch in ((tiny, 1), (wide, 1), (wide, 256))
    )
    assert 0 < tiny_1 < wide_1 < wide_256


def test_the_median_is_stable_and_comes_with_the_spread_of_its_runs(
    an_architecture: AnArchitecture, a_recipe: ARecipe
) -> None:
    network = Network(an_architecture(d_z=256, d_h=64, depth=2), DIGITS, 42)
    medians = [measure_latency(network, 1, a_recipe(precision="fp32"), CPU) for _ in range(3)]
    assert max(row.median_ms for row in medians) < 3 * min(row.median_ms for row in medians)
    assert all(row.iqr_ms >= 0 for row in medians)


def test_memory_counts_weights_gradients_moments_and_activations(
    an_architecture: AnArchitecture, a_recipe: ARecipe, denoising: Denoising, digits: LoadedDataset
) -> None:
    def peak(recipe: Recipe, seeds: tuple[int, ...] = (42,), **sizes: int) -> int:
        return measure_peak_memory(an_architecture(**sizes), denoising, recipe, 1e-3, seeds, digits, CPU)

    recipe = a_recipe(precision="fp32")
    wide = {"d_z": 1024, "d_h": 512, "depth": 2}
    weights = 4 * sum(weight.numel() for weight in Network(an_architecture(**wide), DIGITS, 42).parameters())
    assert peak(recipe) < 4 * weights < peak(recipe, **wide) < 6 * weights
    assert peak(recipe, (42, 43), **wide) > 1.9 * peak(recipe, **wide)
    assert peak(a_recipe(precision="fp32", batch_size=512), **wide) > peak(recipe, **wide)


def test_memory_is_the_same_number_every_time(
    an_architecture: AnArchitecture, a_recipe: ARecipe, digits: LoadedDataset
) -> None:
    task = GenerativeClassification(kind="generative_classification")
    train(an_architecture(), task, a_recipe(epochs=1), 1e-3, 42, digits, CPU)  # tables that are made once are there
    peaks = {
        measure_peak_memory(an_architecture(), task, a_recipe(batch_size=16), 1e-3, (42,), digits, CPU)
        for _ in range(3)
    }
    assert len(peaks) == 1


def test_a_trial_measures_what_is_wanted_and_nothing_else(
    an_architecture: AnArchitecture, a_recipe: ARecipe, denoising: Denoising, digits: LoadedDataset, tmp_path: Path
) -> None:
    recipe = a_recipe(replicates=2)
    outcome = run_trial(an_architecture(), denoising, recipe, (1e-3, 2e-3, 3e-3), digits, CPU)
    assert 0 < outcome.train_seconds < outcome.seconds / 2  # one of three rates, and its share of two replicates

    def measured(*wanted: str) -> dict[str, float]:
        turns = Turns(CPU, tmp_path)
        with turns.training(never):
            return measure_device_costs(wanted, outcome, denoising, recipe, digits, CPU, turns, never)

    assert measured() == {}
    assert measured("train_seconds") == {"train_seconds": outcome.train_seconds}
    assert set(measured("latency_ms")) == {"latency_ms", "latency_ms_iqr"}
    assert set(measured(*MEASURED_COSTS)) == {*MEASURED_COSTS, "latency_ms_iqr", "latency_batch256_ms_iqr"}


def test_time_spent_waiting_for_anothers_measurement_is_no_training_time(
    an_architecture: AnArchitecture, a_recipe: ARecipe, denoising: Denoising, digits: LoadedDataset
) -> None:
    def slow_answer() -> bool:
        sleep(0.5)
        return False

    arguments = (an_architecture(), denoising, a_recipe(), 1e-3, 42, digits, CPU)
    assert train(*arguments, should_stop=slow_answer).seconds < train(*arguments).seconds + 0.6  # of 2 answers: 1 s


def test_an_order_to_stop_ends_the_wait_for_the_device(
    an_architecture: AnArchitecture, a_recipe: ARecipe, denoising: Denoising, digits: LoadedDataset, tmp_path: Path
) -> None:
    outcome = run_trial(an_architecture(), denoising, a_recipe(epochs=1), 1e-3, digits, CPU)
    other, mine = Turns(CPU, tmp_path), Turns(CPU, tmp_path)
    with other.training(never), mine.training(never), pytest.raises(Stopped):
        measure_device_costs(["latency_ms"], outcome, denoising, a_recipe(), digits, CPU, mine, lambda: True)
