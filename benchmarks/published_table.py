"""A table of published runs: reading it, holding its counts of weights against ours, choosing rows to train again.

Leaves out the training (`published.py`) and what the names mean (`nas_service/domain/published.py`).
"""

import csv
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from nas_service.domain.architecture import Architecture
from nas_service.domain.costs import known_costs
from nas_service.domain.published import published_arm, published_task
from nas_service.domain.tasks import task_shape

COLUMNS = ("task", "budget", "arm", "d_z", "d_h", "depth", "lr", "seed", "params", "metric", "psnr")
EVAL = "eval_psnr"  # the metric of the evaluation split
MARGIN = 0.1  # of an arm's shapes, at both ends, from which no row is chosen: the largest take hours


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


def read_table(path: Path) -> list[PublishedRun]:
    """Read every row.

    Raises:
        ValueError: when a column is missing or a number is none.
    """
    with path.open(newline="") as file:
        reader = csv.DictReader(file)
        if missing := set(COLUMNS) - set(reader.fieldnames or ()):
            raise ValueError(f"{path} lacks the columns {', '.join(sorted(missing))}; expected {', '.join(COLUMNS)}")
        return [_run_of(row) for row in reader]


def disagreements(runs: Iterable[PublishedRun]) -> list[tuple[PublishedRun, int]]:
    """The rows whose count of weights is not ours, each with ours."""
    wrong = []
    for run in runs:
        dataset, task = published_task(run.task)
        ours = known_costs(run.architecture, task_shape(task, dataset)).parameters_trainable
        if ours != run.params:
            wrong.append((run, ours))
    return wrong


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


def choose(candidates: Iterable[Configuration], count: int) -> list[Configuration]:
    """Rows spread over the table: arms in turn, the one of most shapes first; in each arm from small to large.

    Every shape stands there with its best published learning rate. The same table gives the same rows.
    """
    by_arm: dict[str, list[Configuration]] = defaultdict(list)
    for best in best_of_each_shape(candidates):
        by_arm[best.arm].append(best)
    arms = sorted(by_arm, key=lambda arm: (-len(by_arm[arm]), arm))
    rounds = max(map(len, by_arm.values()))
    turns = [arm for number in range(rounds) for arm in arms if number < len(by_arm[arm])][:count]
    return [row for arm in arms for row in spread(sorted(by_arm[arm], key=_size), turns.count(arm))]


def best_of_each_shape(candidates: Iterable[Configuration]) -> list[Configuration]:
    """The best published learning rate of every shape."""
    best: dict[tuple[str, int, int, int], Configuration] = {}
    for candidate in candidates:
        held = best.get(candidate.shape)
        if held is None or candidate.mean_psnr_db > held.mean_psnr_db:
            best[candidate.shape] = candidate
    return list(best.values())


def spread(items: list[Configuration], count: int) -> list[Configuration]:
    """That many of the items, at even distances from near the first to near the last; the middle one when it is one."""
    assert count <= len(items)
    last = len(items) - 1
    if count <= 1:
        return items[last // 2 :][:count]
    margin = min(round(MARGIN * last), (len(items) - count) // 2)
    return [items[margin + round((last - 2 * margin) * place / (count - 1))] for place in range(count)]


def find(candidates: Iterable[Configuration], name: str) -> Configuration:
    """The configuration of that name, ARM:D_Z/D_HxDEPTH:LR.

    Raises:
        ValueError: when the table has none.
    """
    for candidate in candidates:
        if candidate.name == name:
            return candidate
    raise ValueError(f"the table has no row {name!r} in this budget; expected ARM:D_Z/D_HxDEPTH:LR")


def _size(configuration: Configuration) -> tuple[int, int, int, int]:
    return configuration.params, configuration.d_z, configuration.d_h, configuration.depth


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
