"""A trial: one architecture trained for every learning rate, one after the other, with all replicates at once.

Leaves out the training itself (`train.py`) and where its results go.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from nas_service.domain.architecture import Architecture
from nas_service.domain.objectives import Direction
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Task, task_shape
from nas_service.domain.transfer import LrTransfer
from nas_service.domain.trial import LearningRates
from workers.training.checkpoint import Checkpoint, RateResult, TrainingState, load_checkpoint, trial_key
from workers.training.datasets import LoadedDataset
from workers.training.memory import fitting_batch, halve_when_out_of_memory
from workers.training.network import Network
from workers.training.network_file import load_network, save_network
from workers.training.precision import precision_of
from workers.training.train import Diverged, ShouldStop, Training, environment_of, train_replicates

BASE_SEED = 42  # of the published protocol: run r is seeded 42 + r

OnRunEpoch = Callable[[int, int, dict[str, float]], None]
OnCheckpoint = Callable[[Checkpoint], None]


@dataclass(frozen=True)
class TrialOutcome:
    """All trainings of a trial, and what stands for it: the learning rate with the best mean over its replicates."""

    metrics: dict[str, dict[str, float]]  # means over the replicates of the best learning rate
    trivial: dict[str, float]  # of the task's trivial answer on eval, replicate 0
    lr: float  # the best learning rate
    replicates: tuple[dict[str, Any], ...]  # {"run", "replicate", "seed", "lr", "metrics", "diverged_at_epoch"}
    seconds: float  # of all trainings
    train_seconds: float  # of one network of the best learning rate: its share of the replicates trained at once
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
    on_checkpoint: OnCheckpoint | None = None,
    resume_from: bytes | None = None,
    at_once: int | None = None,
    rungs: Sequence[int] = (),
    lr_transfer: LrTransfer = LrTransfer.NONE,
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
        on_checkpoint: called after each epoch with the trial as it then stands.
        resume_from: bytes of such a checkpoint; the trial goes on from there and ends with the same bits.
        at_once: how many examples of a replicate are computed at once; None for as many as fit into what is free.
        rungs: epochs after which averaged weights are measured too (see `train_replicates`).
        lr_transfer: how the learning rate becomes that of each weight.

    Raises:
        CheckpointError: when the bytes are damaged or of another trial; nothing was trained then.
        DoesNotFit: when the memory is too small for an eighth of a batch.
        Diverged: when every learning rate did.
        Stopped: when `should_stop` said so.
    """
    rates = lr if isinstance(lr, tuple) else (lr,)
    seeds = [base_seed + replicate for replicate in range(recipe.replicates)]
    key = trial_key(architecture, task, recipe, rates, base_seed, data.digest, objective, direction, lr_transfer)
    resumed = None if resume_from is None else load_checkpoint(resume_from, key)
    finished = list(resumed.finished) if resumed else []
    best_network = load_network(resumed.best_network) if resumed and resumed.best_network else None
    if at_once is None:
        shape, precision = task_shape(task, data.dataset), precision_of(recipe, device)
        at_once = fitting_batch(architecture, shape, recipe, precision, device)
    for number in range(len(finished), len(rates)):
        training = partial(
            train_replicates,
            architecture,
            task,
            recipe,
            rates[number],
            seeds,
            data,
            device,
            _report_of(on_epoch, number * len(seeds)),
            should_stop,
            _checkpoint_of(on_checkpoint, key, tuple(finished), best_network),
            resumed.training if resumed and number == len(resumed.finished) else None,
            rungs=rungs,
            lr_transfer=lr_transfer,
        )
        ended, at_once = halve_when_out_of_memory(training, at_once, recipe)
        finished.append(_result_of(number, rates[number], seeds, ended))
        if _best(finished, objective, direction) is finished[-1] and isinstance(ended[0], Training):
            best_network = ended[0].network
    best = _best(finished, objective, direction)
    rows = [row for result in finished for row in result.replicates]
    if best is None:
        raise Diverged(next(row["diverged_at_epoch"] for row in reversed(rows) if row["metrics"] is None))
    assert best.means is not None
    assert best.trivial is not None
    assert best_network is not None
    environment = environment_of(recipe, device, lr_transfer)
    if at_once < recipe.batch_size:
        environment["micro_batch"] = at_once
    if resumed is not None:
        environment["resumed_from_epoch"] = len(resumed.finished) * recipe.epochs + resumed.training.epochs
    return TrialOutcome(
        metrics=best.means,
        trivial=best.trivial,
        lr=best.lr,
        replicates=tuple(rows),
        seconds=sum(result.seconds for result in finished),
        train_seconds=best.seconds / recipe.replicates,
        epochs=sum(result.epochs for result in finished),
        network=best_network,
        projection_hash=best_network.projection_hashes[0],
        environment=environment,
    )


def _result_of(number: int, lr: float, seeds: list[int], ended: list[Training | Diverged]) -> RateResult:
    """The results of the learning rate with that number: its rows follow those of the rates before."""
    rows: list[dict[str, Any]] = []
    for replicate, (seed, one) in enumerate(zip(seeds, ended, strict=True)):
        row = {"run": number * len(seeds) + replicate, "replicate": replicate, "seed": seed, "lr": lr}
        if isinstance(one, Diverged):
            rows.append({**row, "metrics": None, "diverged_at_epoch": one.epoch})
        else:
            rows.append({**row, "metrics": one.metrics, "diverged_at_epoch": None})
    whole = [one for one in ended if isinstance(one, Training)]
    return RateResult(
        lr=lr,
        replicates=tuple(rows),
        trivial=whole[0].trivial if whole else None,
        seconds=whole[0].seconds if whole else 0.0,  # of all replicates: they train together
        epochs=sum(one.epochs for one in whole),
    )


def _best(finished: list[RateResult], objective: str, direction: Direction) -> RateResult | None:
    """The learning rate with the best mean, the first of equals; None when a replicate of each diverged."""
    sign = 1 if direction == "maximize" else -1
    means = [(result, result.means) for result in finished]
    whole = [(result, sign * mean["eval"][objective]) for result, mean in means if mean is not None]
    return max(whole, key=lambda pair: pair[1])[0] if whole else None


def _checkpoint_of(
    on_checkpoint: OnCheckpoint | None, trial: str, finished: tuple[RateResult, ...], best_network: Network | None
) -> Callable[[TrainingState], None] | None:
    """The callback of one learning rate's training: its state with the results of the rates before."""
    if on_checkpoint is None:
        return None
    content = None if best_network is None else save_network(best_network)
    return lambda state: on_checkpoint(Checkpoint(trial, finished, content, state))


def _report_of(on_epoch: OnRunEpoch | None, first_run: int) -> OnRunEpoch | None:
    """The same callback for one learning rate's replicates: their runs follow `first_run`."""
    if on_epoch is None:
        return None
    return lambda replicate, epoch, metrics: on_epoch(first_run + replicate, epoch, metrics)
