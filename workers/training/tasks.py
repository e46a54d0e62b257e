"""What a task makes of a dataset's images: batches of (inputs, targets) on the device, and the trivial answer.

    denoising                  x = clip(image + noise)        y = image
    super_resolution           x = bicubic image / factor     y = image
    generative_classification  x = image                      y = prototype of its class

Images stay bytes until a batch is made. Leaves out the noise itself (`noise.py`) and what is measured (`measure.py`).

N: images, B: batch, C: channels, H, W: height and width, K: classes, P = C H W.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from nas_service.domain.tasks import Denoising, GenerativeClassification, SuperResolution, Task
from workers.training.datasets import DatasetError, LoadedDataset, Split
from workers.training.noise import counted_noise

# Which flips a visit of an epoch makes, by augmentation: bit 0 horizontal, bit 1 vertical (the published protocol).
FLIPS_OF_VISITS = {1: (0,), 2: (0, 3), 4: (0, 1, 2, 3)}


@dataclass(frozen=True)
class TaskSplit:
    """One split of a dataset on a device, seen as a task."""

    task: Task
    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64
    prototypes: Tensor | None  # (K, P) float32 in [0, 1] for generative_classification
    scale: int  # the pixel value that means 1.0
    stream: int  # keeps the noise of the splits apart

    def __len__(self) -> int:
        return len(self.images)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width


@dataclass(frozen=True)
class TaskData:
    """The three splits of a task."""

    train: TaskSplit
    eval: TaskSplit
    test: TaskSplit


def prepare(task: Task, data: LoadedDataset, device: torch.device) -> TaskData:
    """Move a dataset to the device, once, as bytes.

    Raises:
        DatasetError: when the task needs labels, or an image of every class, and the dataset has none.
    """
    prototypes = class_prototypes(data).to(device) if isinstance(task, GenerativeClassification) else None

    def on_device(split: Split, stream: int) -> TaskSplit:
        return TaskSplit(task, split.images.to(device), split.labels.to(device), prototypes, data.scale, stream)

    return TaskData(on_device(data.train, 0), on_device(data.eval, 1), on_device(data.test, 2))


def class_prototypes(data: LoadedDataset) -> Tensor:
    """The first image of each class in the permuted training split, (K, P) in [0, 1].

    Raises:
        DatasetError: when the dataset has no labels, or no training image of some class.
    """
    if data.classes == 0:
        raise DatasetError(f"{data.dataset.key} has no labels, which generative_classification needs; add them")
    first = []
    for label in range(data.classes):
        rows = (data.train.labels == label).nonzero()
        if len(rows) == 0:
            raise DatasetError(f"{data.dataset.key} has no training image of class {label}; add some or drop the class")
        first.append(rows[0, 0])
    return data.train.images[torch.stack(first)].flatten(1).float() / data.scale


def make_batch(
    split: TaskSplit,
    samples: Tensor,
    seed: int,
    epoch: int | Tensor = 0,
    visits: Tensor | None = None,
    augment: int = 1,
) -> tuple[Tensor, Tensor]:
    """Inputs (B, d_x) and targets (B, d_y) in [0, 1], float32, for the images at `samples`.

    Args:
        split: where the images are.
        samples: indices (B,) int64 on the split's device.
        seed: of the run; with the rest it determines the noise, whatever the batch size.
        epoch: from 0; evaluation keeps 0, so that its noise is the same at every use.
        visits: which of the epoch's visits each image is at, (B,) int64 below `augment`; None for all 0.
        augment: visits of every image in an epoch: 1, 2 or 4.
    """
    # Much faster than images[samples], which moves byte by byte.
    pixels = split.images.flatten(1).index_select(0, samples).view(-1, *split.image_shape)  # (B, C, H, W)
    if visits is None:
        visits = torch.zeros_like(samples)
    elif augment > 1:
        pixels = _flipped(pixels, visits, augment)
    clean = pixels.float().div_(split.scale)  # (B, C, H, W)
    images = clean.flatten(1)  # (B, P)
    match split.task:
        case Denoising(noise_std=noise_std):
            noise = counted_noise(seed, split.stream, epoch, visits, samples, images.shape[1])  # (B, P)
            return noise.mul_(noise_std).add_(images).clamp_(0, 1), images
        case SuperResolution(factor=factor):
            return _shrunk(clean, factor).flatten(1), images
        case GenerativeClassification():
            assert split.prototypes is not None
            return images, split.prototypes[split.labels[samples]]


def make_batches(
    split: TaskSplit,
    samples: Tensor,
    seeds: Sequence[int],
    epoch: int | Tensor = 0,
    visits: Tensor | None = None,
    augment: int = 1,
) -> tuple[Tensor, Tensor]:
    """Each replicate's batch by `make_batch`: inputs (R, B, d_x) and targets (R, B, d_y) for samples (R, B)."""
    at = [None] * len(seeds) if visits is None else visits.unbind(0)
    batches = [
        make_batch(split, row, seed, epoch, visit, augment)
        for row, seed, visit in zip(samples.unbind(0), seeds, at, strict=True)
    ]
    if len(batches) == 1:
        return batches[0][0][None], batches[0][1][None]  # no copy
    return torch.stack([inputs for inputs, _ in batches]), torch.stack([targets for _, targets in batches])


def trivial_answer(split: TaskSplit, inputs: Tensor, train_labels: Tensor) -> Tensor:
    """What one would answer without a network, (R, B, d_y) for inputs (R, B, d_x).

    The noisy input itself, its bicubic enlargement, or the mean of the prototypes as the training labels mix them.
    """
    match split.task:
        case Denoising():
            return inputs
        case SuperResolution(factor=factor):
            channels, height, width = split.image_shape
            small = inputs.view(-1, channels, height // factor, width // factor)
            return _resized(small, height, width).clamp(0, 1).view(*inputs.shape[:2], -1)
        case GenerativeClassification():
            assert split.prototypes is not None
            return split.prototypes[train_labels].mean(dim=0).expand(*inputs.shape[:2], -1)


@cache  # a copy from the CPU cannot be recorded, so it is made once
def _flips_of_visits(augment: int, device: torch.device) -> Tensor:
    return torch.tensor(FLIPS_OF_VISITS[augment], device=device)


def _flipped(pixels: Tensor, visits: Tensor, augment: int) -> Tensor:
    flips = _flips_of_visits(augment, visits.device)[visits][:, None, None, None]
    pixels = torch.where((flips & 1).bool(), pixels.flip(3), pixels)
    return torch.where((flips & 2).bool(), pixels.flip(2), pixels)


def _shrunk(clean: Tensor, factor: int) -> Tensor:
    return _resized(clean, clean.shape[2] // factor, clean.shape[3] // factor)


def _resized(images: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(images, size=(height, width), mode="bicubic", align_corners=False, antialias=False)
