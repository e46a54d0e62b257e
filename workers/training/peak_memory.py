"""The memory that training a network took: the most bytes that torch's allocator held at once.

It is read off a short training with the real loop: weights, gradients, AdamW's moments, activations, batches and the
measuring after an epoch, of all replicates that train together. The dataset is the same for every network and left out,
and so is what libraries take by themselves. Exact where a process's resident size is not: that keeps what earlier
trials have freed. Leaves out predicting it (`memory.py`).
"""

from collections.abc import Sequence
from dataclasses import replace

import torch

from nas_service.domain.architecture import Architecture
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Task
from workers.training.datasets import LoadedDataset, Split
from workers.training.measure import CHUNK
from workers.training.train import train_replicates

STEPS = 3  # gradients and the optimizer's moments are there from the second on


def measure_peak_memory(
    architecture: Architecture,
    task: Task,
    recipe: Recipe,
    lr: float,
    seeds: Sequence[int],
    data: LoadedDataset,
    device: torch.device,
) -> int:
    """Peak bytes of training these seeds at once.

    Raises:
        ValueError: on a device whose allocator cannot be watched.
    """
    brief, few = recipe.model_copy(update={"epochs": 1}), _beginning(data, recipe)

    def train() -> None:
        train_replicates(architecture, task, brief, lr, seeds, few, device)

    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        train()
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu":
        raise ValueError(f"peak_memory_bytes is measured on cpu and cuda only (got {device.type})")
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        train()
    assert profile.profiler is not None
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    held = peak = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        held += event.nbytes()  # below 0 when freed
        peak = max(peak, held)
    return peak


def _beginning(data: LoadedDataset, recipe: Recipe) -> LoadedDataset:
    """Images for a few steps and one round of measuring, and one of each class, which a task may need."""
    count = min(len(data.train.labels), -(-STEPS * recipe.batch_size // recipe.augment))
    first_of_class = {label: row for row, label in reversed(list(enumerate(data.train.labels.tolist())))}
    rows = torch.tensor(sorted({*range(count), *first_of_class.values()}))
    return replace(
        data,
        train=Split(data.train.images[rows], data.train.labels[rows]),
        eval=Split(data.eval.images[:CHUNK], data.eval.labels[:CHUNK]),
        test=Split(data.test.images[:CHUNK], data.test.labels[:CHUNK]),
    )
