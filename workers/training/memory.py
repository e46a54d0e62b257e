"""How much memory a training takes, told before it starts, and what is free.

Counted are weights with their gradient and AdamW's two moments, what the backward pass keeps of each block, and one
chunk of evaluation. Leaves out the dataset, which the worker holds anyway, and the idle process.

R: replicates, B: batch (or the part of it that is computed at once).
"""

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from typing import TypeVar

import torch

from nas_service.domain.architecture import Activation, Architecture, Norm, TaskShape
from nas_service.domain.costs import known_costs
from nas_service.domain.search import Recipe
from workers.training.measure import CHUNK

Outcome = TypeVar("Outcome")

BYTES = 4  # of a float32
COPIES_OF_A_WEIGHT = (
    4  # itself, AdamW's two moments and the gradient; in bf16 that is half, and the rounded weight half
)
LEAST_AT_ONCE = 4  # BatchNorm needs more than one, also in what remains of a batch
FREE_SHARE = 0.9  # of the free memory may be planned with
MMAP_THRESHOLD = 4 << 20  # below it are the matrices of the usual shapes, which must not be mapped anew at each step
TRIM_THRESHOLD = 64 << 20  # so much free heap is kept: it would be mapped anew at each step
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's <malloc.h>


def keep_memory_compact() -> None:
    """Give large tensors back to the system as soon as they are freed, on Linux with glibc.

    By itself malloc raises its threshold to 32 MiB and then keeps tensors below that in a heap full of holes: deep,
    wide trainings take about twice the memory that they use.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
            mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)


def predicted_peak_bytes(
    architecture: Architecture,
    shape: TaskShape,
    replicates: int,
    batch: int,
    precision: str,
    *,
    in_parts: bool = False,
) -> int:
    """Bytes that a training adds to an idle worker at its peak.

    Args:
        architecture: the network.
        shape: widths of input and output.
        replicates: trained at once.
        batch: examples of each replicate that are computed at once.
        precision: fp32 or bf16.
        in_parts: whether they are only a part of a batch, so that gradients are summed in a buffer of their own.
    """
    costs = known_costs(architecture, shape)
    weights = (COPIES_OF_A_WEIGHT + in_parts) * costs.parameters_trainable
    frozen = costs.parameters_in_memory - costs.parameters_trainable
    if precision == "bf16":
        frozen += frozen // 2
    rows = batch * _kept_per_row(architecture, shape, precision)
    evaluation = CHUNK * (2 * architecture.d_z + architecture.d_h + 4 * max(shape.d_x, shape.d_y))
    return int(BYTES * replicates * (weights + frozen + max(rows, evaluation)))


class DoesNotFit(MemoryError):
    """Not even an eighth of a batch fits into the free memory; the message has the numbers."""


def fitting_batch(
    architecture: Architecture, shape: TaskShape, recipe: Recipe, precision: str, device: torch.device
) -> int:
    """How many examples of each replicate to compute at once: the batch, or a half, a quarter, an eighth of it.

    Raises:
        DoesNotFit: when even an eighth needs more than is free.
    """
    free = free_bytes(device)
    parts = [max(LEAST_AT_ONCE, recipe.batch_size // share) for share in (1, 2, 4, 8)]
    needs = [
        predicted_peak_bytes(architecture, shape, recipe.replicates, part, precision, in_parts=part < recipe.batch_size)
        for part in parts
    ]
    for part, need in zip(parts, needs, strict=True):
        if free is None or need < FREE_SHARE * free:
            return part
    raise DoesNotFit(
        f"training needs about {needs[-1] / 1e9:.1f} GB even with {parts[-1]} examples at once "
        f"({recipe.replicates} replicates), and {(free or 0) / 1e9:.1f} GB are free on {device}"
    )


def halve_when_out_of_memory(train: Callable[[int], Outcome], at_once: int, recipe: Recipe) -> tuple[Outcome, int]:
    """Call `train(at_once)`; when memory runs out all the same, again with half of it, down to an eighth of the batch.

    Returns:
        what `train` returned, and the number that it was called with.

    Raises:
        DoesNotFit: when an eighth of the batch ran out of memory, too.
    """
    least = max(LEAST_AT_ONCE, recipe.batch_size // 8)
    while True:
        try:
            return train(at_once), at_once
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            failure = str(error) or type(error).__name__
        if at_once <= least:
            raise DoesNotFit(
                f"out of memory with {at_once} examples at once of a batch of {recipe.batch_size}: {failure}"
            )
        at_once = max(least, at_once // 2)
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: Exception) -> bool:
    """Whether that is what the error says; torch has no type of its own for it on a CPU."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def free_bytes(device: torch.device) -> int | None:
    """Free bytes on the device, where they can be told."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # for the next tensor
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return int(lines["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None


def resident_bytes() -> int:
    """Bytes of this process in the machine's memory; 0 where that cannot be told."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def _kept_per_row(architecture: Architecture, shape: TaskShape, precision: str) -> float:
    """Numbers of 4 bytes that one example needs until its gradient is through."""
    d_z, d_h = architecture.d_z, architecture.d_h
    low = 0.5 if precision == "bf16" else 1.0  # matrices multiply rounded copies
    # what the norm keeps, what W1 multiplies, h after the activation and, but for relu, before it
    norm = 0.0 if architecture.norm is Norm.NONE else 1.0
    inner = {Activation.RELU: low, Activation.SWIGLU: 3 * low}.get(architecture.activation, 2 * low)
    ends = 2 * shape.d_x + 6 * shape.d_y + 4 * d_z  # the batch, the loss, the gradients of the block in turn
    return architecture.depth * (d_z * (norm + low) + d_h * inner) + ends
