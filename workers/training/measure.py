"""What is measured on a split: PSNR, MSE, SSIM, and accuracy where the output names a class.

Everything is computed per image and averaged at the end, so no number depends on the batches used to compute it; PSNR
alone is defined by batches of 128. Leaves out training.

R: replicates, N: images, B: batch, C: channels, H, W: height and width, K: classes, P = C H W.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from workers.training.tasks import TaskSplit, make_batches

PSNR_BATCH = 128  # part of the definition of `psnr_db`, whatever the recipe's batch size
LEAST_MSE = 1e-30
CHUNK = 4 * PSNR_BATCH  # images in memory at once
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5  # Wang, Bovik, Sheikh, Simoncelli, IEEE TIP 2004
SSIM_C1, SSIM_C2 = 0.01**2, 0.03**2  # of a data range of 1

Answer = Callable[[Tensor], Tensor]  # inputs (R, B, d_x) -> outputs (R, B, d_y) in [0, 1]


@torch.no_grad()
def measure(answer: Answer, split: TaskSplit, seeds: Sequence[int], *, brief: bool = False) -> list[dict[str, float]]:
    """Measure the answers of R replicates on a whole split.

    Args:
        answer: the network at evaluation, or a trivial answer.
        split: the images and the task.
        seeds: of the runs, one a replicate; each fixes the noise of its own.
        brief: only `mse` and `psnr_db`, for the report after each epoch.

    Returns:
        For each replicate `psnr_db`, `mse`, `ssim`, and `accuracy` for generative_classification.
    """
    errors, similarities, hits = [], [], []
    for samples in torch.split(torch.arange(len(split), device=split.images.device), CHUNK):
        inputs, targets = make_batches(split, samples.expand(len(seeds), -1), seeds)
        outputs = answer(inputs)
        errors.append((outputs - targets).square().mean(dim=2))  # (R, B)
        if not brief:
            similarities.append(_as_images(ssim, outputs, targets, split))
            if split.prototypes is not None:
                classes = nearest_prototype(outputs.flatten(0, 1), split.prototypes).view(outputs.shape[:2])
                hits.append(classes == split.labels[samples])  # (R, B)
    squared_errors = torch.cat(errors, dim=1).cpu()  # (R, N)
    metrics = [{"psnr_db": psnr_db(row), "mse": float(row.double().mean())} for row in squared_errors]
    for name, parts in (("ssim", similarities), ("accuracy", hits)):
        if parts:
            means = torch.cat(parts, dim=1).double().mean(dim=1).tolist()
            metrics = [{**row, name: mean} for row, mean in zip(metrics, means, strict=True)]
    return metrics


def _as_images(
    compare: Callable[[Tensor, Tensor], Tensor], outputs: Tensor, targets: Tensor, split: TaskSplit
) -> Tensor:
    """Compare (R, B, P) outputs and targets image by image, (R, B)."""
    shape = (-1, *split.image_shape)
    return compare(outputs.reshape(shape), targets.reshape(shape)).view(outputs.shape[:2])


def psnr_db(squared_errors: Tensor) -> float:
    """PSNR in dB of images in [0, 1], as published: -10 log10 of the MSE of each batch of 128, averaged over images.

    Args:
        squared_errors: mean squared error of each image (N,), in the split's order.

    Returns:
        dB, at most 300: an exact batch would be infinite, which JSON cannot carry.
    """
    batches = torch.split(squared_errors.double(), PSNR_BATCH)
    sizes = torch.tensor([len(batch) for batch in batches], dtype=torch.float64)
    errors = torch.stack([batch.mean() for batch in batches]).clamp(min=LEAST_MSE)  # one per batch
    return float(-10 * (errors.log10() * sizes).sum() / sizes.sum())


def ssim(outputs: Tensor, targets: Tensor) -> Tensor:
    """Structural similarity of each image pair, (B,) for images (B, C, H, W) in [0, 1].

    As torchmetrics computes it: Gaussian window of 11 pixels and sigma 1.5, K of 0.01 and 0.03, edges reflected, mean
    over all pixels and channels. Images with a side below 6, which torchmetrics refuses, take a smaller window.
    Source: Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment", IEEE TIP 2004.
    """
    height, width = outputs.shape[2:]
    window = ssim_window(height, width)
    rows = _blur_matrix(height, window, outputs.device)  # (H, H)
    columns = _blur_matrix(width, window, outputs.device)  # (W, W)

    def blurred(images: Tensor) -> Tensor:
        return rows @ images @ columns.T  # (B, C, H, W): the window is separable

    mean_x, mean_y = blurred(outputs), blurred(targets)
    var_x = (blurred(outputs.square()) - mean_x.square()).clamp(min=0)
    var_y = (blurred(targets.square()) - mean_y.square()).clamp(min=0)
    covariance = blurred(outputs * targets) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + SSIM_C1) / (mean_x.square() + mean_y.square() + SSIM_C1)
    structure = (2 * covariance + SSIM_C2) / (var_x + var_y + SSIM_C2)
    return (luminance * structure).mean(dim=(1, 2, 3))


def ssim_window(height: int, width: int) -> int:
    """Pixels along the window's side: 11, or less where the image is too small to be reflected so far at its edges."""
    return min(SSIM_WINDOW, 2 * min(height, width) - 1)


def nearest_prototype(outputs: Tensor, prototypes: Tensor) -> Tensor:
    """The class (B,) whose prototype (K, P) is nearest to each output (B, P); the first of equals."""
    # |o - p|^2 without |o|^2, which is the same for every class
    return (prototypes.square().sum(dim=1) - 2 * outputs @ prototypes.T).argmin(dim=1)


@lru_cache(maxsize=8)
def _blur_matrix(size: int, window: int, device: torch.device) -> Tensor:
    """The matrix (size, size) that blurs a line of pixels by the Gaussian window, reflecting it at its ends."""
    reach = (window - 1) // 2
    offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-((offsets / SSIM_SIGMA) ** 2) / 2)
    kernel = (weights / weights.sum()).view(1, 1, -1)
    lines = torch.eye(size, dtype=torch.float64)[:, None]  # (size, 1, size): line i is 1 at pixel i
    padded = F.pad(lines, (reach, reach), mode="reflect") if reach else lines
    return F.conv1d(padded, kernel)[:, 0].T.float().contiguous().to(device)
