"""The training loop: one network and learning rate, some seeds at once. Read `train_replicates` from top to bottom.

AdamW on the MSE, batches made on the device, the last epoch's network measured. Leaves out lists of learning rates
(`run_trial.py`), batches (`tasks.py`) and metrics (`measure.py`).

R: replicates, B: batch, d_x, d_y: widths of input and output.
"""

import math
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas_service.domain.architecture import Architecture
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Task, task_shape
from nas_service.domain.transfer import LrTransfer, lr_factors
from workers.training.averaging import EpochAverage, named_averages
from workers.training.checkpoint import TrainingState, put_back, take_state
from workers.training.datasets import LoadedDataset
from workers.training.measure import measure
from workers.training.network import Network
from workers.training.noise import derived_seed
from workers.training.precision import TrainedWeights, multiply_by_onednn, precision_of
from workers.training.replay import replayed
from workers.training.tasks import make_batches, prepare, trivial_answer

STEPS_BETWEEN_POLLS = 10  # `should_stop` is asked this often
GREY_MSE = 0.25  # a grey image is never further than this from pixels in [0, 1]
ORDER = 1  # the purpose of a derived seed: the order of an epoch's images

OnEpoch = Callable[[int, dict[str, float]], None]
OnReplicateEpoch = Callable[[int, int, dict[str, float]], None]
ShouldStop = Callable[[], bool]
OnState = Callable[[TrainingState], None]


class Stopped(Exception):
    """`should_stop` said so."""

    def __init__(self, epoch: int, seconds: float = 0.0) -> None:
        super().__init__(f"stopped in epoch {epoch}")
        self.epoch = epoch  # the unfinished one, from 0
        self.seconds = seconds  # trained so far


class Diverged(ArithmeticError):
    """The loss became infinite, not a number, or worse than grey after it had been better."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"diverged at epoch {epoch}")
        self.epoch = epoch  # from 0


@dataclass(frozen=True)
class Training:
    """A trained network and what was measured."""

    seed: int
    metrics: dict[str, dict[str, float]]  # {"eval": {"psnr_db": ...}, "test": {...}}
    trivial: dict[str, float]  # the same metrics of the task's trivial answer, on eval
    # wall time, measuring included, time in `should_stop` not; of all replicates that were trained together
    seconds: float
    epochs: int
    network: Network  # on the CPU, in evaluation mode
    projection_hash: str | None  # of a fixed W_in
    environment: dict[str, Any]  # versions, device and precision


def train(
    architecture: Architecture,
    task: Task,
    recipe: Recipe,
    lr: float,
    seed: int,
    data: LoadedDataset,
    device: torch.device,
    on_epoch: OnEpoch | None = None,
    should_stop: ShouldStop | None = None,
    lr_transfer: LrTransfer = LrTransfer.NONE,
) -> Training:
    """Train one network and measure it: `train_replicates` with a single seed.

    Raises:
        Diverged: when the loss is not finite or has exploded.
    """
    report = None if on_epoch is None else lambda _, epoch, metrics: on_epoch(epoch, metrics)
    (ended,) = train_replicates(
        architecture, task, recipe, lr, (seed,), data, device, report, should_stop, lr_transfer=lr_transfer
    )
    if isinstance(ended, Diverged):
        raise ended
    return ended


def train_replicates(
    architecture: Architecture,
    task: Task,
    recipe: Recipe,
    lr: float,
    seeds: Sequence[int],
    data: LoadedDataset,
    device: torch.device,
    on_epoch: OnReplicateEpoch | None = None,
    should_stop: ShouldStop | None = None,
    on_state: OnState | None = None,
    resume_from: TrainingState | None = None,
    at_once: int | None = None,
    rungs: Sequence[int] = (),
    lr_transfer: LrTransfer = LrTransfer.NONE,
) -> list[Training | Diverged]:
    """Train replicates of a network as one batched network by the recipe, and measure each.

    Every replicate has its own weights, fixed W_in, order of images and noise from its seed, so that it ends as if it
    had been trained alone (within the rounding of batched products). The same arguments on the same machine give the
    same bits.

    Args:
        architecture: the network.
        task: what it is asked to produce.
        recipe: how it trains; its number of replicates is the caller's, who gives the seeds.
        lr: peak learning rate, of a weight that `lr_transfer` does not scale.
        seeds: one a replicate: of the weights, a fixed W_in, the order of images and the noise. The published run r
            has 42 + r.
        data: the images.
        device: where to train.
        on_epoch: called after each epoch for each replicate that goes on, with its number, the epoch from 0 and
            {"train_mse", "mse", "psnr_db", "lr"}; mse and PSNR are of the evaluation split.
        should_stop: asked every few steps.
        on_state: called after each epoch, after `on_epoch`, with all that the next one depends on.
        resume_from: such a state; training goes on from there and ends with the same bits.
        at_once: compute so many examples of a replicate at once and add up the gradients of a batch, where memory is
            short: the same mathematics but for the statistics of BatchNorm. None for whole batches.
        rungs: epochs, counted from 1, after which averaged weights are measured too (see `averaging.py`); `on_epoch`
            gets their metrics as psnr_db_average and so on. The training is the same with them and without.
        lr_transfer: how the learning rate becomes that of each weight.

    Returns:
        For each seed the training, or how it diverged: its loss was not finite or has exploded.

    Raises:
        IllegalArchitecture: when the network does not fit the task.
        DatasetError: when the dataset lacks what the task needs.
        CheckpointError: when the state to resume from is not one of this network.
        ValueError: when the network's branch scale is not the one that `lr_transfer` needs.
        Stopped: when `should_stop` said so.
    """
    start = time.perf_counter()
    multiply_by_onednn()
    splits = prepare(task, data, device)
    network = Network(architecture, task_shape(task, data.dataset), *seeds).to(device)
    in_parts = at_once is not None and at_once < recipe.batch_size
    weights = TrainedWeights(
        network,
        precision_of(recipe, device),
        recipe.weight_decay,
        lr_factors=lr_factors(lr_transfer, architecture),
        in_parts=in_parts,
    )
    images, steps = len(splits.train), steps_per_epoch(len(splits.train), recipe)
    first_epoch, diverged, least_mse = 0, dict[int, Diverged](), [math.inf] * len(seeds)
    if resume_from is not None:
        put_back(resume_from, network, weights)
        first_epoch, least_mse = resume_from.epochs, list(resume_from.least_mse)
        diverged = {replicate: Diverged(epoch) for replicate, epoch in resume_from.diverged.items()}
        start -= resume_from.seconds
    computing = weights.computing
    loss_sums = torch.zeros(len(seeds), device=device)

    def learn(items: Tensor, epoch: int | Tensor, rate: float | Tensor) -> None:
        for number, part in enumerate(micro_batches(items, at_once)):  # one part, unless memory is short
            samples, visits = part % images, part // images  # (R, B)
            inputs, targets = make_batches(splits.train, samples, seeds, epoch, visits, recipe.augment)
            # inputs: (R, B, d_x), targets: (R, B, d_y)
            losses = computing.backpropagate(inputs, targets, part.shape[1] / items.shape[1])  # (R,)
            weights.collect_gradient(first=number == 0)
            loss_sums.add_(losses, alpha=items.shape[1])
        weights.update(rate)

    train_on = replayed(learn, device)
    for epoch in range(first_epoch, recipe.epochs):
        computing.train()
        loss_sums.zero_()
        seen = 0
        average = EpochAverage(network, steps) if epoch + 1 in rungs else None
        for step, items in enumerate(epoch_batches(images, recipe, seeds, epoch, device)):  # items: (R, B)
            if should_stop is not None and step % STEPS_BETWEEN_POLLS == 0:
                asked = time.perf_counter()
                if should_stop():
                    raise Stopped(epoch, asked - start)
                start += time.perf_counter() - asked  # it may have waited for another worker's measurement
            rate = lr * lr_factor(recipe, epoch, step, steps)
            train_on(items, epoch, rate)
            if average is not None:
                average.add()
            seen += items.shape[1]
        computing.eval()
        train_mse = (loss_sums / seen).tolist()  # the only wait for the device in an epoch of training
        measured = measure(computing, splits.eval, seeds, brief=True)
        if average is not None:
            with average.in_the_network(weights.round):
                averaged = measure(computing, splits.eval, seeds)
            measured = [row | named_averages(more) for row, more in zip(measured, averaged, strict=True)]
        for replicate in set(range(len(seeds))) - diverged.keys():
            if has_diverged(train_mse[replicate], least_mse[replicate], measured[replicate]["mse"]):
                diverged[replicate] = Diverged(epoch)
                continue
            least_mse[replicate] = min(least_mse[replicate], train_mse[replicate])
            if on_epoch is not None:
                row = {"train_mse": train_mse[replicate], **measured[replicate], "lr": rate}
                on_epoch(replicate, epoch, row)
        if len(diverged) == len(seeds):
            return list(diverged.values())
        if on_state is not None:
            ends = {replicate: error.epoch for replicate, error in diverged.items()}
            on_state(take_state(network, weights.moments, epoch + 1, least_mse, ends, time.perf_counter() - start))
    computing.eval()  # where a resumed training had no epoch left
    (trivial,) = measure(
        lambda inputs: trivial_answer(splits.eval, inputs, splits.train.labels), splits.eval, seeds[:1]
    )
    on_eval, on_test = (measure(computing, split, seeds) for split in (splits.eval, splits.test))
    seconds, environment = time.perf_counter() - start, environment_of(recipe, device, lr_transfer)
    return [
        diverged.get(replicate)
        or Training(
            seed=seed,
            metrics={"eval": on_eval[replicate], "test": on_test[replicate]},
            trivial=trivial,
            seconds=seconds,
            epochs=recipe.epochs,
            network=network.replicate(replicate),
            projection_hash=network.projection_hashes[replicate],
            environment=environment,
        )
        for replicate, seed in enumerate(seeds)
    ]


def epoch_batches(
    images: int, recipe: Recipe, seeds: Sequence[int], epoch: int, device: torch.device
) -> Iterator[Tensor]:
    """The epoch's batches of items (R, B), each item = visit * images + image, in an order given by (seed, epoch).

    Drawn on the CPU, so that every device trains in the same order. A last batch of one image is left out, because
    BatchNorm has no statistics of it; a larger partial one is kept, as PyTorch's `DataLoader` does.
    """
    generators = [torch.Generator().manual_seed(derived_seed(seed, ORDER, epoch)) for seed in seeds]
    orders = [torch.randperm(images * recipe.augment, generator=generator) for generator in generators]
    order = torch.stack(orders).to(device)  # (R, images * augment)
    return (batch for batch in torch.split(order, recipe.batch_size, dim=1) if batch.shape[1] > 1)


def micro_batches(items: Tensor, at_once: int | None) -> Sequence[Tensor]:
    """Split a batch (R, B) into equal parts of at most `at_once` (4 or more), so that no part has a single image."""
    batch = items.shape[1]
    parts = 1 if at_once is None else -(-batch // at_once)
    return torch.tensor_split(items, parts, dim=1)


def steps_per_epoch(images: int, recipe: Recipe) -> int:
    """How many batches `epoch_batches` gives."""
    whole, rest = divmod(images * recipe.augment, recipe.batch_size)
    return whole + (rest > 1)


def lr_factor(recipe: Recipe, epoch: int, step: int, steps: int) -> float:
    """The share of the peak learning rate in a step: 1 - e/E by epochs or by steps, or 1."""
    match recipe.schedule:
        case "linear":
            return 1 - epoch / recipe.epochs
        case "linear_per_step":
            return 1 - (epoch * steps + step) / (recipe.epochs * steps)
        case "constant":
            return 1.0


def has_diverged(train_mse: float, least_mse: float, eval_mse: float) -> bool:
    """Whether an epoch's loss is not finite, or worse than a grey image and than an epoch before.

    The sigmoid bounds the loss by 1, so an explosion shows as saturated, wrong pixels and not as a large number.
    """
    finite = math.isfinite(train_mse) and math.isfinite(eval_mse)
    return not finite or train_mse > max(GREY_MSE, least_mse)


def environment_of(recipe: Recipe, device: torch.device, lr_transfer: LrTransfer) -> dict[str, Any]:
    """What trained the network, for whoever wants to repeat it."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "precision": precision_of(recipe, device),
        "lr_transfer": lr_transfer.value,
    }
