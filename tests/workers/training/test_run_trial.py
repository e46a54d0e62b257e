from collections.abc import Callable
from statistics import fmean

import pytest
import torch

from nas_service.domain.architecture import Architecture
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Denoising
from workers.training.datasets import LoadedDataset
from workers.training.run_trial import TrialOutcome, run_trial
from workers.training.train import Diverged

CPU = torch.device("cpu")
Run = Callable[..., TrialOutcome]


@pytest.fixture
def trial_of_digits(
    digits: LoadedDataset,
    denoising: Denoising,
    an_architecture: Callable[..., Architecture],
    a_recipe: Callable[..., Recipe],
) -> Run:
    def run(lr: float | tuple[float, ...], replicates: int = 1, norm: str = "batch", **options: object) -> TrialOutcome:
        recipe = a_recipe(epochs=2, replicates=replicates)
        return run_trial(an_architecture(norm=norm), denoising, recipe, lr, digits, CPU, **options)  # type: ignore[arg-type]

    return run


def test_replicates_train_with_following_seeds_and_are_averaged(trial_of_digits: Run) -> None:
    outcome = trial_of_digits(3e-3, replicates=2)
    assert [row["seed"] for row in outcome.replicates] == [42, 43]
    values = [row["metrics"]["eval"]["psnr_db"] for row in outcome.replicates]
    assert values[0] != values[1]
    assert outcome.metrics["eval"]["psnr_db"] == pytest.approx(fmean(values))
    assert outcome.epochs == 4


def test_the_best_mean_among_learning_rates_is_the_trials(trial_of_digits: Run) -> None:
    outcome = trial_of_digits((1e-5, 1e-2, 1e-4), replicates=2)
    assert [(row["run"], row["lr"], row["replicate"]) for row in outcome.replicates] == [
        (0, 1e-5, 0), (1, 1e-5, 1), (2, 1e-2, 0), (3, 1e-2, 1), (4, 1e-4, 0), (5, 1e-4, 1),
    ]  # fmt: skip
    assert outcome.lr == 1e-2
    best = [row["metrics"]["test"]["mse"] for row in outcome.replicates if row["lr"] == 1e-2]
    assert outcome.metrics["test"]["mse"] == pytest.approx(fmean(best))


def test_an_objective_to_be_minimised_chooses_the_least(trial_of_digits: Run) -> None:
    outcome = trial_of_digits((1e-5, 1e-2), objective="mse", direction="minimize")
    values = {row["lr"]: row["metrics"]["eval"]["mse"] for row in outcome.replicates}
    assert outcome.lr == min(values, key=lambda lr: values[lr]) == 1e-2


def test_a_diverged_learning_rate_is_kept_but_not_chosen(trial_of_digits: Run) -> None:
    outcome = trial_of_digits((1e4, 3e-3), norm="none")
    assert outcome.lr == 3e-3
    assert [row["diverged_at_epoch"] for row in outcome.replicates] == [0, None]
    assert outcome.replicates[0]["metrics"] is None


def test_a_trial_whose_learning_rates_all_diverged_has_diverged(trial_of_digits: Run) -> None:
    with pytest.raises(Diverged, match="diverged at epoch 0"):
        trial_of_digits((1e4, 1e5), norm="none")


def test_reports_carry_the_number_of_the_training(trial_of_digits: Run) -> None:
    seen: list[tuple[int, int]] = []
    trial_of_digits((1e-3, 3e-3), on_epoch=lambda run, epoch, metrics: seen.append((run, epoch)))
    assert seen == [(0, 0), (0, 1), (1, 0), (1, 1)]
