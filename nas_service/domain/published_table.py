"""A table of published runs as values: a run a row, and all runs of one network with one learning rate together.

What its names mean is in `published.py`.
"""

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from nas_service.domain.architecture import Architecture
from nas_service.domain.published import published_arm

COLUMNS = ("task", "budget", "arm", "d_z", "d_h", "depth", "lr", "seed", "params", "metric", "psnr")
EVAL = "eval_psnr"  # the metric of the evaluation split


@dataclass(frozen=True)
class PublishedRun:
    """One row of the table."""

    task: str
    budget: str
    arm: str
    d_z: int
    d_h: int
    depth: int
    lr: float
    seed: int  # r: the run is seeded 42 + r
    params: int  # trained weights
    metric: str
    psnr: float  # dB

    @property
    def architecture(self) -> Architecture:
        """The network as ours."""
        return published_arm(self.arm).architecture(self.d_z, self.d_h, self.depth)


@dataclass(frozen=True)
class Configuration:
    """All published runs of one network with one learning rate."""

    arm: str
    d_z: int
    d_h: int
    depth: int
    lr: float
    params: int
    psnr_db: tuple[tuple[int, float], ...]  # (seed, PSNR on the evaluation split), by seed

    @property
    def architecture(self) -> Architecture:
        """The network as ours."""
        return published_arm(self.arm).architecture(self.d_z, self.d_h, self.depth)

    @property
    def mean_psnr_db(self) -> float:
        """The published figure: the mean over seeds."""
        return fmean(psnr for _, psnr in self.psnr_db)

    @property
    def shape(self) -> tuple[str, int, int, int]:
        """All but the learning rate."""
        return self.arm, self.d_z, self.d_h, self.depth

    @property
    def name(self) -> str:
        """As `--row` takes it."""
        return f"{self.arm}:{self.d_z}/{self.d_h}x{self.depth}:{self.lr:g}"


def published_runs(lines: Iterable[str]) -> list[PublishedRun]:
    """Read every row of the table's text.

    Raises:
        ValueError: when a column is missing or a number is none.
    """
    reader = csv.DictReader(lines)
    if missing := set(COLUMNS) - set(reader.fieldnames or ()):
        raise ValueError(f"the table lacks the columns {', '.join(sorted(missing))}; expected {', '.join(COLUMNS)}")
    return [_run_of(row) for row in reader]


def configurations(runs: Iterable[PublishedRun], budget: str) -> list[Configuration]:
    """The networks and learning rates that were published under a budget, by arm and size.

    Raises:
        ValueError: when there are none.
    """
    grouped: dict[tuple[str, int, int, int, float, int], list[tuple[int, float]]] = defaultdict(list)
    budgets = set()
    for run in runs:
        budgets.add(run.budget)
        if run.budget == budget and run.metric == EVAL:
            grouped[run.arm, run.d_z, run.d_h, run.depth, run.lr, run.params].append((run.seed, run.psnr))
    if not grouped:
        raise ValueError(f"the table has no {EVAL} of budget {budget!r}; it has {', '.join(sorted(budgets))}")
    return [Configuration(*key, psnr_db=tuple(sorted(found))) for key, found in sorted(grouped.items())]


def _run_of(row: dict[str, str]) -> PublishedRun:
    return PublishedRun(
        task=row["task"],
        budget=row["budget"],
        arm=row["arm"],
        d_z=int(row["d_z"]),
        d_h=int(row["d_h"]),
        depth=int(row["depth"]),
        lr=float(row["lr"]),
        seed=int(row["seed"]),
        params=int(row["params"]),
        metric=row["metric"],
        psnr=float(row["psnr"]),
    )
