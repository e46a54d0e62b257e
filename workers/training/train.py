"""The training loop: one network, one learning rate, one seed. Read `train` from top to bottom.

AdamW on the MSE, batches made on the device, the last epoch's network measured. Leaves out replicates and lists of
learning rates (`run_trial.py`), batches (`tasks.py`) and metrics (`measure.py`).

B: batch, d_x, d_y: widths of input and output.
"""

import math
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nas_service.domain.architecture import Architecture
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Task, task_shape
from workers.training.datasets import LoadedDataset
from workers.training.measure import Answer, measure
from workers.training.network import Network
from workers.training.noise import derived_seed
from workers.training.tasks import make_batch, prepare, trivial_answer

STEPS_BETWEEN_POLLS = 10  # `should_stop` is asked this often
GREY_MSE = 0.25  # a grey image is never further than this from pixels in [0, 1]
ORDER = 1  # the purpose of a derived seed: the order of an epoch's images

OnEpoch = Callable[[int, dict[str, float]], None]
ShouldStop = Callable[[], bool]


class Stopped(Exception):
    """`should_stop` said so."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"stopped in epoch {epoch}")
        self.epoch = epoch  # the unfinished one, from 0


class Diverged(ArithmeticError):
    """The loss became infinite, not a number, or worse than grey after it had been better."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"diverged at epoch {epoch}")
        self.epoch = epoch  # from 0


@dataclass(frozen=True)
class Training:
    """A trained network and what was measured."""

    metrics: dict[str, dict[str, float]]  # {"eval": {"psnr_db": ...}, "test": {...}}
    trivial: dict[str, float]  # the same metrics of the task's trivial answer, on eval
    seconds: float  # wall time, measuring included
    epochs: int
    network: Network  # on the device, in evaluation mode
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
) -> Training:
    """Train one network by the recipe and measure it. The same arguments on the same machine give the same bits.

    Args:
        architecture: the network.
        task: what it is asked to produce.
        recipe: how it trains; `replicates` is the caller's.
        lr: peak learning rate.
        seed: of the weights, a fixed W_in, the order of images and the noise. The published run r has 42 + r.
        data: the images.
        device: where to train.
        on_epoch: called after each epoch with its number from 0 and {"train_mse", "mse", "psnr_db", "lr"}; the
            latter are of the evaluation split.
        should_stop: asked every few steps.

    Raises:
        IllegalArchitecture: when the network does not fit the task.
        DatasetError: when the dataset lacks what the task needs.
        Diverged: when the loss is not finite or has exploded.
        Stopped: when `should_stop` said so.
    """
    start = time.perf_counter()
    splits = prepare(task, data, device)
    network = Network(architecture, task_shape(task, data.dataset), seed).to(device)
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=recipe.weight_decay, fused=True)
    answer = _answer_of(network, recipe, device)
    images, steps = len(splits.train), steps_per_epoch(len(splits.train), recipe)
    first_mse = math.inf
    for epoch in range(recipe.epochs):
        network.train()
        loss_sum, seen = torch.zeros((), device=device), 0
        for step, items in enumerate(epoch_batches(images, recipe, seed, epoch, device)):
            if should_stop is not None and step % STEPS_BETWEEN_POLLS == 0 and should_stop():
                raise Stopped(epoch)
            optimizer.param_groups[0]["lr"] = lr * lr_factor(recipe, epoch, step, steps)
            samples, visits = items % images, items // images  # (B,)
            inputs, targets = make_batch(splits.train, samples, seed, epoch, visits, recipe.augment)
            loss = F.mse_loss(answer(inputs), targets)  # inputs: (B, d_x), targets: (B, d_y)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            loss_sum += loss.detach() * len(items)
            seen += len(items)
        network.eval()
        train_mse = float(loss_sum) / seen  # the only wait for the device in an epoch of training
        measured = measure(answer, splits.eval, seed, brief=True)
        if has_diverged(train_mse, first_mse) or not math.isfinite(measured["mse"]):
            raise Diverged(epoch)
        first_mse = min(first_mse, train_mse)
        if on_epoch is not None:
            on_epoch(epoch, {"train_mse": train_mse, **measured, "lr": optimizer.param_groups[0]["lr"]})
    trivial = measure(lambda inputs: trivial_answer(splits.eval, inputs, splits.train.labels), splits.eval, seed)
    metrics = {"eval": measure(answer, splits.eval, seed), "test": measure(answer, splits.test, seed)}
    seconds = time.perf_counter() - start
    environment = environment_of(recipe, device)
    return Training(metrics, trivial, seconds, recipe.epochs, network, network.projection_hash, environment)


def epoch_batches(images: int, recipe: Recipe, seed: int, epoch: int, device: torch.device) -> Iterator[Tensor]:
    """The epoch's batches of items (B,), each item = visit * images + image, in an order given by (seed, epoch).

    Drawn on the CPU, so that every device trains in the same order. A last batch of one image is left out, because
    BatchNorm has no statistics of it; a larger partial one is kept, as PyTorch's `DataLoader` does.
    """
    generator = torch.Generator().manual_seed(derived_seed(seed, ORDER, epoch))
    order = torch.randperm(images * recipe.augment, generator=generator).to(device)
    return (batch for batch in torch.split(order, recipe.batch_size) if len(batch) > 1)


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


def has_diverged(train_mse: float, best_mse: float) -> bool:
    """Whether an epoch's loss is not finite, or worse than a grey image and than an epoch before.

    The sigmoid bounds the loss by 1, so an explosion shows as saturated, wrong pixels and not as a large number.
    """
    return not math.isfinite(train_mse) or train_mse > max(GREY_MSE, best_mse)


def precision_of(recipe: Recipe) -> str:
    """The precision that a recipe trains in: fp32 or bf16."""
    return "fp32" if recipe.precision == "auto" else recipe.precision


def environment_of(recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """What trained the network, for whoever wants to repeat it."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
        "precision": precision_of(recipe),
    }


def _answer_of(network: Network, recipe: Recipe, device: torch.device) -> Answer:
    def answer(inputs: Tensor) -> Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision_of(recipe) == "bf16"):
            outputs: Tensor = network(inputs)
        return outputs

    return answer
