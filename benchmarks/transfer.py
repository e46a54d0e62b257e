"""Learning-rate transfer: how far the best learning rate moves with the shape, with `lr_transfer` and without.

    HOURGLASS_DATA_DIR=DATA python benchmarks/transfer.py RUNS.jsonl

Every shape is trained with every learning rate of a grid under three schemes: as published; with the branch scale
1/sqrt(depth) alone; and with it and `lr_transfer: width_depth`. Each on MNIST at half its resolution (see
`stopping_runs.py`) under the published recipe, the learning rate falling to 0 within the few epochs; two seeds, whose
mean counts. The file keeps what is trained, so that an interrupted run goes on.

The default stays `lr_transfer: none` unless the rule halves the regret of a common learning rate, and loses nothing of
the quality that each shape reaches with its own best one.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean, pstdev

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.stopping_runs import SEARCH, keep_row, kept_rows, small_mnist
from nas_service.domain.architecture import Architecture, BranchScale
from nas_service.domain.search import Recipe, Search
from nas_service.domain.transfer import LrTransfer
from workers.training.datasets import LoadedDataset
from workers.training.train import Diverged, train_replicates

SCHEMES = {
    "as published": (BranchScale.ONE, LrTransfer.NONE),
    "1/sqrt(depth)": (BranchScale.INVERSE_SQRT_DEPTH, LrTransfer.NONE),
    "width_depth": (BranchScale.INVERSE_SQRT_DEPTH, LrTransfer.WIDTH_DEPTH),
}
HOURGLASSES = ((200, 16, 1), (200, 100, 2), (300, 48, 8), (400, 8, 4), (800, 32, 2), (1000, 16, 6))
CONVENTIONAL = ((196, 256, 1), (196, 256, 6), (196, 1024, 1))
LOG2_RATES = (-13.0, -12.0, -11.0, *(half / 2 for half in range(-21, -11)), -5.0)  # lr 1.2e-4 to 3.1e-2
RECIPE = Recipe(epochs=8)
SEEDS = (42, 43)

Curve = Mapping[float, float]  # log2 of a learning rate: mean PSNR in dB, -inf when a seed diverged


@dataclass(frozen=True)
class Transfer:
    """How well a learning rate serves other shapes under one scheme. Regrets are against a shape's own best rate."""

    best: dict[str, float]  # shape: log2 of its best learning rate
    best_psnr_db: float  # mean over shapes, each with its own best rate
    common: float  # log2 of the one learning rate with the least mean regret
    regrets_db: dict[str, float]  # shape: of that rate
    from_smallest_db: dict[str, float]  # shape: of the best rate of the first shape

    @property
    def spread(self) -> float:
        """Standard deviation of log2(best learning rate) over the shapes."""
        return pstdev(self.best.values())


def transfer_of(curves: Mapping[str, Curve]) -> Transfer:
    """Compute how well one learning rate serves all shapes, the smallest of which comes first."""
    tops = {shape: max(curve.values()) for shape, curve in curves.items()}
    (smallest, first), *_ = curves.items()
    rates = {rate: _regrets(curves, tops, rate) for rate in first}
    common = min(rates, key=lambda rate: fmean(rates[rate].values()))
    from_smallest = rates[peak(first)]
    return Transfer(
        best={shape: peak(curve) for shape, curve in curves.items()},
        best_psnr_db=fmean(tops.values()),
        common=common,
        regrets_db=rates[common],
        from_smallest_db={shape: regret for shape, regret in from_smallest.items() if shape != smallest},
    )


def _regrets(curves: Mapping[str, Curve], tops: Mapping[str, float], rate: float) -> dict[str, float]:
    return {shape: tops[shape] - curve[rate] for shape, curve in curves.items()}


def peak(curve: Curve) -> float:
    """The point of the grid with the highest quality."""
    return max(curve, key=lambda rate: curve[rate])


def shapes() -> dict[str, Architecture]:
    """By their names, the one with the fewest weights first."""
    plain = {"family": "conventional", "w_in": "none", "w_out": "none"}
    given = [({"family": "hourglass"}, sizes) for sizes in HOURGLASSES] + [(plain, sizes) for sizes in CONVENTIONAL]
    return {
        f"{kind['family']} {d_z}/{d_h} x{depth}": Architecture.model_validate(
            {**kind, "d_z": d_z, "d_h": d_h, "depth": depth}
        )
        for kind, (d_z, d_h, depth) in given
    }


def trained(path: Path, data: LoadedDataset, recipe: Recipe = RECIPE) -> dict[str, dict[str, Curve]]:
    """The curves of every scheme and shape: read from the file, and trained where it lacks them."""
    kept = {(row["scheme"], row["shape"], row["log2_lr"]): row["psnr_db"] for row in kept_rows(path)}
    for key, architecture in _jobs():
        if key not in kept:
            scheme, shape, rate = key
            kept[key] = psnr_db(architecture, SCHEMES[scheme][1], 2.0**rate, data, recipe)
            keep_row(path, {"scheme": scheme, "shape": shape, "log2_lr": rate, "psnr_db": kept[key]})
    return {
        scheme: {shape: {rate: _mean(kept[scheme, shape, rate]) for rate in LOG2_RATES} for shape in shapes()}
        for scheme in SCHEMES
    }


def _jobs() -> Iterator[tuple[tuple[str, str, float], Architecture]]:
    for (shape, plain), rate, scheme in product(shapes().items(), LOG2_RATES, SCHEMES):
        yield (scheme, shape, rate), plain.model_copy(update={"branch_scale": SCHEMES[scheme][0]})


def psnr_db(
    architecture: Architecture, rule: LrTransfer, lr: float, data: LoadedDataset, recipe: Recipe
) -> list[float | None]:
    """Train one network of each seed; the PSNR of each on the evaluation split, None where it diverged."""
    task = Search.model_validate(SEARCH).task
    ended = train_replicates(architecture, task, recipe, lr, SEEDS, data, torch.device("cpu"), lr_transfer=rule)
    return [None if isinstance(one, Diverged) else one.metrics["eval"]["psnr_db"] for one in ended]


def _mean(values: list[float | None]) -> float:
    return fmean(-float("inf") if value is None else value for value in values)


def best_table(found: Mapping[str, Transfer]) -> Table:
    """Per shape the best learning rate and the regret of the common one under each scheme."""
    table = Table(title="best learning rate, and dB lost with the common one")
    table.add_column("shape", no_wrap=True)
    for scheme in found:
        table.add_column(scheme, justify="right")
    for shape in shapes():
        table.add_row(shape, *(f"2^{one.best[shape]:g}, {one.regrets_db[shape]:.2f}" for one in found.values()))
    return table


def summary_table(found: Mapping[str, Transfer]) -> Table:
    """One row a scheme."""
    table = Table(title="over the shapes")
    table.add_column("scheme")
    for name in (
        "own best, dB",
        "spread of log2(best lr)",
        "common lr",
        "it loses, dB",
        "at most",
        "smallest's lr loses, dB",
        "at most",
    ):
        table.add_column(name, justify="right")
    for scheme, one in found.items():
        losses = [value for regrets in (one.regrets_db, one.from_smallest_db) for value in _mean_and_most(regrets)]
        figures = [f"{one.best_psnr_db:.2f}", f"{one.spread:.2f}", f"2^{one.common:g}"]
        table.add_row(scheme, *figures, *(f"{value:.3f}" for value in losses))
    return table


def _mean_and_most(regrets: Mapping[str, float]) -> tuple[float, float]:
    return fmean(regrets.values()), max(regrets.values())


def main(arguments: list[str] | None = None) -> int:
    """Train what is missing, print; the exit code."""
    parser = argparse.ArgumentParser(description="How far the best learning rate moves with the shape.")
    parser.add_argument("runs", type=Path, metavar="RUNS.jsonl", help="what is trained; made or made longer")
    folder = os.environ.get("HOURGLASS_DATA_DIR")
    parser.add_argument("--datasets", type=Path, default=folder and Path(folder), help="folder of datasets")
    given = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 160)
    try:
        curves = trained(given.runs, small_mnist(given.datasets))
    except (ValueError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    found = {scheme: transfer_of(of_shapes) for scheme, of_shapes in curves.items()}
    console.print(best_table(found), summary_table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
