"""Published runs that nobody published: a made-up law of quality on a grid, in the columns of the given tables."""

import csv
from collections.abc import Iterable
from dataclasses import replace
from itertools import product
from math import log
from pathlib import Path

from nas_service.domain.published_table import COLUMNS, EVAL, Configuration

ARM, BUDGET = "hourglass_learned_in", "bs128_ep30"


def published_rows(
    widths: Iterable[int] = (785, 1500, 3000), inner: Iterable[int] = (8, 64, 500), wrong_by: int = 0
) -> list[Configuration]:
    """Every legal shape with three learning rates; the first count of weights may be off."""
    rows = [
        Configuration(ARM, d_z, d_h, depth, lr, _weights(d_z, d_h, depth), ((1, _psnr(d_z, d_h, depth, lr)),))
        for d_z, d_h, depth, lr in product(widths, inner, (1, 4, 16), (1e-4, 5e-4, 3e-3))
        if d_h < d_z
    ]
    return [replace(rows[0], params=rows[0].params + wrong_by), *rows[1:]]


def write_table(folder: Path) -> Path:
    """The same as a file."""
    path = folder / "mnist_denoising.csv"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for row in published_rows():
            numbers = (row.d_z, row.d_h, row.depth, row.lr, 1, row.params)
            table.writerow(["mnist_denoising", BUDGET, row.arm, *numbers, EVAL, row.mean_psnr_db])
    return path


def _weights(d_z: int, d_h: int, depth: int) -> int:
    return d_z * (2 * 784 + 2 * d_h * depth)


def _psnr(d_z: int, d_h: int, depth: int, lr: float) -> float:
    size = log(_weights(d_z, d_h, depth) / 1e6)
    return 22 + size - 0.1 * size**2 - 0.1 * log(d_h / 64) ** 2 - 0.2 * log(lr / 7e-4) ** 2 - 0.05 * log(depth / 4) ** 2
