"""What the processes of a rival do: our training loop itself, or the plain program, each driven by a `Pacer`.

Nothing of either loop is copied: ours is paced by its `should_stop` and `on_epoch`, the plain one by its batches.
Leaves out turns (`turns.py`) and what is made of the figures (`trainer.py`).
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from benchmarks import plain_pytorch
from benchmarks.turns import READY, Pacer
from nas_service.domain.architecture import Architecture, WIn, WOut
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Dataset, Denoising
from workers.training.datasets import LoadedDataset, Split, load_dataset
from workers.training.memory import keep_memory_compact
from workers.training.train import STEPS_BETWEEN_POLLS, Stopped, train

LR = 5e-4
SEED = 42
ENDLESS = 100_000  # epochs
WARM_UP_EPOCHS = 3  # the first is not timed
WARM_UP_STEPS = 2 * STEPS_BETWEEN_POLLS + 1  # in each of them: the last step is polled, the evaluation follows it


@dataclass(frozen=True)
class Job:
    """What is trained, the same for every rival."""

    architecture: Architecture
    batch_size: int
    dataset: Dataset
    data_dir: Path | None

    def load(self) -> LoadedDataset:
        """Read the images.

        Raises:
            ValueError: when they are too few to warm up with.
        """
        data = load_dataset(self.dataset, self.data_dir, fetch=False)
        if len(data.train.images) < WARM_UP_STEPS * self.batch_size:
            raise ValueError(f"{self.dataset.key} is too small for {WARM_UP_STEPS} batches of {self.batch_size}")
        return data


@dataclass(frozen=True)
class Facts:
    """What a process says when it is ready."""

    threads: int
    evaluation_seconds: float | None  # of our trainer, after each epoch


def work_ours(connection: Connection, job: Job, precision: str) -> None:
    """Our trainer in one process with one thread, as a worker has it, until the connection is closed."""
    torch.set_num_threads(1)
    keep_memory_compact()
    data = job.load()
    connection.send(READY)
    connection.recv()
    connection.send(Facts(torch.get_num_threads(), evaluation_seconds(job, precision, data)))
    hook = PacedTraining(Pacer(connection))
    _train(job, precision, data, hook)


class PacedTraining:
    """Our loop's two hooks, as ticks of a pacer: polls in an epoch are `STEPS_BETWEEN_POLLS` steps apart."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._epoch_began = True

    def should_stop(self) -> bool:
        """Asked before the first step of an epoch and every few steps."""
        steps = 0 if self._epoch_began else STEPS_BETWEEN_POLLS
        self._epoch_began = False
        return self._pacer.tick(steps)

    def on_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """Called after an epoch's evaluation, which does not count as training."""
        self._epoch_began = True


class EvaluationClock:
    """The same hooks, timing what follows the last step of an epoch; ends the training when it has enough."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._polls: list[float] = []

    def should_stop(self) -> bool:
        """Note the time."""
        self._polls.append(time.perf_counter())
        return len(self.seconds) == WARM_UP_EPOCHS

    def on_epoch(self, epoch: int, metrics: dict[str, float]) -> None:
        """From the last poll to here: one step and the evaluation."""
        step = (self._polls[-1] - self._polls[0]) / (STEPS_BETWEEN_POLLS * (len(self._polls) - 1))
        self.seconds.append(time.perf_counter() - self._polls[-1] - step)
        self._polls = []


def evaluation_seconds(job: Job, precision: str, data: LoadedDataset) -> float:
    """Train some short epochs to warm up; seconds of the evaluation after one."""
    count = WARM_UP_STEPS * job.batch_size
    short = replace(data, train=Split(data.train.images[:count], data.train.labels[:count]))
    clock = EvaluationClock()
    _train(job, precision, short, clock)
    return fmean(clock.seconds[1:])


def _train(job: Job, precision: str, data: LoadedDataset, hook: PacedTraining | EvaluationClock) -> None:
    recipe = Recipe.model_validate({"epochs": ENDLESS, "batch_size": job.batch_size, "precision": precision})
    task, device = Denoising(kind="denoising"), torch.device("cpu")
    with suppress(Stopped):
        train(job.architecture, task, recipe, LR, SEED, data, device, hook.on_epoch, hook.should_stop)


def work_plain(connection: Connection, job: Job, threads: int | None) -> None:
    """The plain program with that many threads, or as torch starts by default, until the connection is closed."""
    if threads is not None:
        torch.set_num_threads(threads)
    data = job.load()
    model = plain_model(job.architecture, data)
    batches = DataLoader(plain_images(data.train, data.scale), batch_size=job.batch_size, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
    connection.send(READY)
    connection.recv()
    plain_pytorch.train_epoch(model, islice(batches, WARM_UP_STEPS), optimizer, nn.MSELoss())
    connection.send(Facts(torch.get_num_threads(), evaluation_seconds=None))
    with suppress(Stopped):
        paced = paced_batches(batches, Pacer(connection))
        plain_pytorch.train_epoch(model, paced, optimizer, nn.MSELoss())


def paced_batches(loader: DataLoader[tuple[Tensor, Tensor]], pacer: Pacer) -> Iterator[tuple[Tensor, Tensor]]:
    """Epoch after epoch of a loader, a tick after each step.

    Raises:
        Stopped: when the pacer says so.
    """
    if pacer.tick(0):
        raise Stopped(0)
    for epoch in range(ENDLESS):
        for batch in loader:
            yield batch
            if pacer.tick(1):
                raise Stopped(epoch)


def plain_model(architecture: Architecture, data: LoadedDataset) -> nn.Module:
    """The plain program's network of an architecture.

    Raises:
        ValueError: when it has none.
    """
    a, pixels = architecture, data.train.images[0].numel()
    model = plain_pytorch.ResidualMLP(pixels, a.d_z, a.d_h, a.depth)
    match a.w_in:
        case WIn.NONE:
            model.w_in = nn.Identity()
        case WIn.FIXED_UNIFORM:
            model.w_in.requires_grad_(False)
        case WIn.LEARNED:
            pass
        case _:
            raise ValueError(f"the plain program has no w_in {a.w_in}; expected learned, fixed_uniform or none")
    if a.w_out is WOut.NONE:
        model.w_out = nn.Identity()
    return model


def plain_images(split: Split, scale: int) -> plain_pytorch.NoisyImages:
    """A split as the plain program's dataset."""
    return plain_pytorch.NoisyImages(split.images, scale=scale)
