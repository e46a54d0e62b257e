"""Early stopping replayed: epochs spent and hypervolume reached, with `stopping: halving` and without.

    python benchmarks/stopping.py --published DATA/published/mnist_denoising_curves.jsonl.gz
    HOURGLASS_DATA_DIR=DATA python benchmarks/stopping.py --fresh RUNS.jsonl --trials 40

Stopping changes no training, so whole trainings tell what the service would have done: they arrive one after the
other, in random orders, and `domain/stopping.py` judges each at its rungs. `--fresh` first trains until the file holds
so many trials of each arm. The default stays `stopping: none` unless halving saves half of the epochs at under 1% of
hypervolume. "Held against: all" is the rule without the costs, for comparison.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import fmean

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr

from benchmarks.stopping_runs import Run, Runs, fresh_runs, published_runs
from nas_service.domain.front import Points, hypervolume, minimised
from nas_service.domain.objectives import Objective
from nas_service.domain.stopping import judge, rungs_of

OBJECTIVES = (Objective(name="parameters_trainable", scale="log"), Objective(name="psnr_db"))
REFERENCE_QUANTILE = 0.3  # of the PSNRs: the worst that counts
PUBLISHED_EPOCHS = 30
FEWEST_TRIALS = 5  # of which some are better than the reference


@dataclass(frozen=True)
class Outcome:
    """One order of an arm's trials, all figures as shares of what the same trials give without stopping."""

    epochs: float
    hypervolume: float
    fewer_hypervolume: float  # of the first of them alone, as many as these epochs train to the end


@dataclass(frozen=True)
class Replay:
    """An arm under one way of looking, over many orders."""

    arm: str
    way: str
    objectives: tuple[Objective, ...]  # that are judged
    trials: int
    correlations: tuple[float, ...]  # Spearman's, of the quality at each rung with the one at the end
    outcomes: tuple[Outcome, ...]

    @property
    def meets_the_aim(self) -> bool:
        """Half of the epochs saved at under 1% of hypervolume, in the mean."""
        return self.mean("epochs") <= 0.5 and self.mean("hypervolume") > 0.99

    def mean(self, figure: str) -> float:
        """The mean of one of the outcomes' figures."""
        return fmean(getattr(outcome, figure) for outcome in self.outcomes)

    def text(self, figure: str) -> str:
        """Mean, and between which values nine of ten orders lie, in %."""
        low, high = np.quantile([getattr(outcome, figure) for outcome in self.outcomes], (0.05, 0.95))
        return f"{100 * self.mean(figure):.1f} ({100 * low:.1f} to {100 * high:.1f})"


def replays(runs: Runs, trials: int, orders: int) -> Iterator[Replay]:
    """Every arm under every way of looking."""
    for arm in dict.fromkeys(run.arm for run in runs.runs):
        mine = [run for run in runs.runs if run.arm == arm]
        rungs = rungs_of(runs.epochs)
        for way, objectives in product(runs.costs, (OBJECTIVES, OBJECTIVES[1:])):
            found = tuple(_outcome(runs, mine, way, objectives, trials, order) for order in range(orders))
            ends = [run.psnr_db for run in mine]
            correlations = tuple(spearmanr([run.seen[way][rung] for run in mine], ends).statistic for rung in rungs)
            yield Replay(arm, way, objectives, min(trials, len(mine)), correlations, found)


def _outcome(
    runs: Runs, mine: Sequence[Run], way: str, objectives: tuple[Objective, ...], trials: int, order: int
) -> Outcome:
    reference = _reference(mine)
    drawn = [mine[place] for place in np.random.default_rng(order).permutation(len(mine))[:trials]]
    epochs, survivors = halve(runs, drawn, way, objectives)
    whole = hypervolume(_points(drawn), reference)
    return Outcome(
        epochs=epochs / (runs.epochs * len(drawn)),
        hypervolume=hypervolume(_points(survivors), reference) / whole,
        fewer_hypervolume=hypervolume(_points(drawn[: max(1, epochs // runs.epochs)]), reference) / whole,
    )


def halve(
    runs: Runs, arrivals: Sequence[Run], way: str, objectives: tuple[Objective, ...] = OBJECTIVES
) -> tuple[int, list[Run]]:
    """Let trials train one after the other; the epochs that they took, and those that reached the end."""
    further, begins_anew = runs.costs[way]
    at_rungs: dict[int, list[list[float]]] = {rung: [] for rung in rungs_of(runs.epochs)}
    epochs, survivors = 0, []
    for run in arrivals:
        for rung, earlier in at_rungs.items():
            epochs += further.get(rung, 0)
            values = [run.parameters if objective.is_known else run.seen[way][rung] for objective in objectives]
            standing = judge(rung, values, earlier, objectives)
            earlier.append(values)
            if not standing.goes_on:
                epochs += 0 if begins_anew else rung
                break
        else:
            epochs += runs.epochs
            survivors.append(run)
    return epochs, survivors


def _points(runs: Sequence[Run]) -> Points:
    return minimised([[run.parameters, run.psnr_db] for run in runs], OBJECTIVES)


def _reference(runs: Sequence[Run]) -> Points:
    """The largest cost and the worst PSNR that count in an arm."""
    points = _points(runs)
    worst = np.quantile(points[:, 1], 1 - REFERENCE_QUANTILE)
    return np.array([np.nextafter(points[:, 0].max(), np.inf), worst])


def table_of(found: Sequence[Replay], runs: Runs) -> Table:
    """One row an arm and way of looking."""
    rungs = ", ".join(map(str, rungs_of(runs.epochs)))
    table = Table(title=f"rungs after epochs {rungs} of {runs.epochs}; in % of the same trials without stopping")
    for name in ("arm", "trials", "seen as", "held against", "correlation with the end"):
        table.add_column(name)
    for name in ("epochs", "hypervolume", "hypervolume of fewer, whole trials", "aim"):
        table.add_column(name, justify="right")
    for replay in found:
        correlations = ", ".join(f"{value:.3f}" for value in replay.correlations)
        figures = [replay.text(name) for name in ("epochs", "hypervolume", "fewer_hypervolume")]
        verdict = "met" if replay.meets_the_aim else "missed"
        rivals = "no costlier" if replay.objectives == OBJECTIVES else "all"
        table.add_row(replay.arm, str(replay.trials), replay.way, rivals, correlations, *figures, verdict)
    return table


def main(arguments: list[str] | None = None) -> int:
    """Replay, print; the exit code."""
    given = _arguments(arguments)
    console = Console(width=None if sys.stdout.isatty() else 180)
    try:
        if given.published is not None:
            runs = published_runs(given.published, PUBLISHED_EPOCHS, rungs_of(PUBLISHED_EPOCHS))
        else:
            runs = fresh_runs(given.fresh, given.trials, given.datasets)
    except (ValueError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    console.print(table_of(list(replays(runs, given.trials, given.orders)), runs))
    return 0


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Early stopping, replayed on whole trainings.")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--published", type=Path, metavar="CURVES.jsonl.gz", help="published curves")
    source.add_argument("--fresh", type=Path, metavar="RUNS.jsonl", help="trained here; made or made longer")
    parser.add_argument("--trials", type=int, default=40, help="of each arm")
    parser.add_argument("--orders", type=int, default=100, help="random orders of the trials")
    folder = os.environ.get("HOURGLASS_DATA_DIR")
    parser.add_argument("--datasets", type=Path, default=folder and Path(folder), help="folder of datasets")
    given = parser.parse_args(arguments)
    if given.trials < FEWEST_TRIALS or given.orders < 1:
        parser.error(f"--trials must be {FEWEST_TRIALS} or more, --orders 1 or more")
    return given


if __name__ == "__main__":
    sys.exit(main())
