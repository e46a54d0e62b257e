"""A trial: one architecture trained for every learning rate, one after the other, with all replicates at once.

Leaves out the training itself (`train.py`) and where its results go.
"""

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch

from nas_service.domain.architecture import Architecture
from nas_service.domain.objectives import Direction
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Task
from nas_service.domain.trial import LearningRates
from workers.training.datasets import LoadedDataset
from workers.training.network import Network
from workers.training.train import Diverged, ShouldStop, Training, train_replicates

BASE_SEED = 42  # of the published protocol: run r is seeded 42 + r

OnRunEpoch = Callable[[int, int, dict[str, float]], None]


@dataclass(frozen=True)
class TrialOutcome:
    """All trainings of a trial, and what stands for it: the learning rate with the best mean over its replicates."""

    metrics: dict[str, dict[str, float]]  # means over the replicates of the best learning rate
    trivial: dict[str, float]  # of the task's trivial answer on eval, replicate 0
    lr: float  # the best learning rate
    replicates: tuple[dict[str, Any], ...]  # {"run", "replicate", "seed", "lr", "metrics", "diverged_at_epoch"}
    seconds: float  # of all trainings
    epochs: int  # of all trainings, unfinished ones left out
    network: Network  # replicate 0 of the best learning rate
    projection_hash: str | None  # of that network
    environment: dict[str, Any]


def run_trial(
    architecture: Architecture,
    task: Task,
    recipe: Recipe,
    lr: LearningRates,
    data: LoadedDataset,
    device: torch.device,
    *,
    objective: str = "psnr_db",
    direction: Direction = "maximize",
    base_seed: int = BASE_SEED,
    on_epoch: OnRunEpoch | None = None,
    should_stop: ShouldStop | None = None,
) -> TrialOutcome:
    """Train every learning rate with every seed; the best mean over seeds is the trial's, all are kept.

    A learning rate of which a replicate diverged is out of the choice; its row says at which epoch.

    Args:
        architecture: the network.
        task: what it is asked to produce.
        recipe: how it trains, `replicates` times.
        lr: one learning rate or several.
        data: the images.
        device: where to train.
        objective: the metric of the evaluation split that chooses between learning rates.
        direction: whether less or more of it is better.
        base_seed: replicate r trains with `base_seed + r`.
        on_epoch: called with the number of the training (from 0 over learning rates, then replicates), the epoch
            and its metrics.
        should_stop: asked every few steps.

    Raises:
        Diverged: when every learning rate did.
        Stopped: when `should_stop` said so.
    """
    rates = lr if isinstance(lr, tuple) else (lr,)
    seeds = [base_seed + replicate for replicate in range(recipe.replicates)]
    rows: list[dict[str, Any]] = []
    finished: dict[float, list[Training]] = {}
    failure: Diverged | None = None
    for rate in rates:
        report = _report_of(on_epoch, len(rows))
        ended = train_replicates(architecture, task, recipe, rate, seeds, data, device, report, should_stop)
        finished[rate] = [one for one in ended if isinstance(one, Training)]
        for replicate, one in enumerate(ended):
            row = {"run": len(rows), "replicate": replicate, "seed": seeds[replicate], "lr": rate}
            if isinstance(one, Diverged):
                failure = one
                rows.append({**row, "metrics": None, "diverged_at_epoch": one.epoch})
            else:
                rows.append({**row, "metrics": one.metrics, "diverged_at_epoch": None})
    whole = {rate: trainings for rate, trainings in finished.items() if len(trainings) == recipe.replicates}
    if not whole:
        assert failure is not None
        raise failure
    sign = 1 if direction == "maximize" else -1
    best = max(whole, key=lambda rate: sign * mean_metrics(whole[rate])["eval"][objective])
    every = [training for trainings in finished.values() for training in trainings]
    chosen = whole[best][0]
    return TrialOutcome(
        metrics=mean_metrics(whole[best]),
        trivial=chosen.trivial,
        lr=best,
        replicates=tuple(rows),
        seconds=sum(trainings[0].seconds for trainings in finished.values() if trainings),
        epochs=sum(training.epochs for training in every),
        network=chosen.network,
        projection_hash=chosen.projection_hash,
        environment=chosen.environment,
    )


def mean_metrics(trainings: list[Training]) -> dict[str, dict[str, float]]:
    """The mean of every metric over trainings, {"eval": {...}, "test": {...}}."""
    first = trainings[0].metrics
    return {
        split: {name: fmean(training.metrics[split][name] for training in trainings) for name in values}
        for split, values in first.items()
    }


def _report_of(on_epoch: OnRunEpoch | None, first_run: int) -> OnRunEpoch | None:
    """The same callback for one learning rate's replicates: their runs follow `first_run`."""
    if on_epoch is None:
        return None
    return lambda replicate, epoch, metrics: on_epoch(first_run + replicate, epoch, metrics)
