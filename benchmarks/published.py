"""Trains published networks again, here, and prints the published PSNR against ours.

    HOURGLASS_DATA_DIR=DATA python benchmarks/published.py DATA/published/mnist_denoising.csv --rows 6 --processes 2

First every count of weights in the table is held against ours. The rows to train are chosen from the table, the same
ones every time, or named by `--row`. Expected: differences of seeds, below 0.05 dB. Six rows of bs128_ep30 take an hour
on two cores.
"""

import argparse
import os
import sys
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean

from rich.console import Console
from rich.table import Table

from benchmarks.published_table import Configuration, choose, configurations, disagreements, find, read_table
from nas_service.domain.published import BASE_SEED, published_recipe, published_task
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Dataset
from workers.training.datasets import LoadedDataset, load_dataset


@dataclass(frozen=True)
class Job:
    """One training."""

    row: Configuration
    published_seed: int  # r
    task: str  # as the table names it
    recipe: Recipe
    data_dir: Path | None


@dataclass(frozen=True)
class Comparison:
    """A row of the table and what became of it here."""

    row: Configuration
    psnr_db: tuple[float, ...]  # ours, one a seed
    seconds: float  # of all its trainings

    @property
    def difference_db(self) -> float:
        """Ours less the published, both means over their seeds."""
        return fmean(self.psnr_db) - self.row.mean_psnr_db


def train_job(job: Job) -> tuple[float, float, str]:
    """Train on one thread of the CPU; PSNR on the evaluation split, seconds and the precision that it took."""
    import torch

    from workers.training.train import train

    torch.set_num_threads(1)
    dataset, task = published_task(job.task)
    training = train(
        job.row.architecture,
        task,
        job.recipe,
        job.row.lr,
        BASE_SEED + job.published_seed,
        _data(dataset, job.data_dir),
        torch.device("cpu"),
    )
    return training.metrics["eval"]["psnr_db"], training.seconds, training.environment["precision"]


@lru_cache(maxsize=1)
def _data(dataset: Dataset, data_dir: Path | None) -> LoadedDataset:
    return load_dataset(dataset, data_dir, fetch=False)


def compare(jobs: list[Job], processes: int, console: Console) -> Iterator[Comparison]:
    """Train all jobs, the largest first, and give each row with its figures."""
    found: dict[Configuration, list[tuple[float, float]]] = defaultdict(list)
    largest_first = sorted(jobs, key=lambda job: -job.row.params)
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(train_job, job): job for job in largest_first}
        for future in as_completed(futures):
            job, (psnr_db, seconds, precision) = futures[future], future.result()
            found[job.row].append((psnr_db, seconds))
            console.print(
                f"{job.row.name} seed {BASE_SEED + job.published_seed}: {psnr_db:.3f} dB here ({precision}), "
                f"{dict(job.row.psnr_db)[job.published_seed]:.3f} published, {seconds:.0f} s",
                highlight=False,
                soft_wrap=True,
            )
    for row in dict.fromkeys(job.row for job in jobs):
        yield Comparison(row, tuple(psnr for psnr, _ in found[row]), sum(seconds for _, seconds in found[row]))


def table_of(comparisons: list[Comparison], title: str) -> Table:
    """All rows, published against ours."""
    table = Table(title=title)
    table.add_column("row", no_wrap=True)
    for heading in ("weights", "seeds", "published dB", "ours dB", "difference", "seconds"):
        table.add_column(heading, justify="right")
    for comparison in comparisons:
        row = comparison.row
        table.add_row(
            row.name,
            f"{row.params:,}",
            f"{len(row.psnr_db)}, {len(comparison.psnr_db)}",
            f"{row.mean_psnr_db:.3f}",
            f"{fmean(comparison.psnr_db):.3f}",
            f"{comparison.difference_db:+.3f}",
            f"{comparison.seconds:.0f}",
        )
    return table


def summary_of(comparisons: list[Comparison]) -> str:
    """Largest and mean absolute difference."""
    distances = [abs(comparison.difference_db) for comparison in comparisons]
    return f"absolute difference: mean {fmean(distances):.3f} dB, max {max(distances):.3f} dB"


def counts_text(path: Path) -> str:
    """How many counts of weights in the table are ours, and which are not."""
    runs = read_table(path)
    wrong = disagreements(runs)
    lines = [f"weights: {len(runs) - len(wrong):,} of {len(runs):,} published counts are ours"]
    shapes = dict.fromkeys((run.arm, run.d_z, run.d_h, run.depth, run.params, ours) for run, ours in wrong)
    lines += [f"  {arm} {z}/{h} x{depth}: {params:,} there, {ours:,} here" for arm, z, h, depth, params, ours in shapes]
    return "\n".join(lines)


def jobs_of(given: argparse.Namespace) -> list[Job]:
    """The trainings that the command line asks for.

    Raises:
        ValueError: when the table lacks the budget or a row.
    """
    runs = read_table(given.table)
    candidates = configurations(runs, given.budget)
    rows = [find(candidates, name) for name in given.row] if given.row else choose(candidates, given.rows)
    recipe = published_recipe(given.budget).model_copy(update={"precision": given.precision})
    if given.epochs is not None:
        recipe = recipe.model_copy(update={"epochs": given.epochs})
    return [
        Job(row, seed, runs[0].task, recipe, given.datasets) for row in rows for seed, _ in row.psnr_db[: given.seeds]
    ]


def main(arguments: list[str] | None = None) -> int:
    """Check the counts, train, print; the exit code."""
    given = _arguments(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        console.print(counts_text(given.table), highlight=False)
        jobs = jobs_of(given)
    except (ValueError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    recipe = jobs[0].recipe
    comparable = recipe.epochs == published_recipe(given.budget).epochs
    title = f"{given.budget}, precision {given.precision}"
    if not comparable:
        title += f", but {recipe.epochs} epochs: NOT COMPARABLE"
    comparisons = list(compare(jobs, given.processes, console))
    console.print(table_of(comparisons, title))
    console.print(summary_of(comparisons) + ("" if comparable else " (not comparable: fewer epochs)"), highlight=False)
    return 0


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Train published networks again and compare.")
    parser.add_argument("table", type=Path, metavar="TABLE.csv", help="published runs")
    parser.add_argument("--budget", default="bs128_ep30", help="as the table names it")
    parser.add_argument("--rows", type=int, default=6, help="how many rows, spread over the table")
    parser.add_argument("--row", action="append", metavar="ARM:D_Z/D_HxDEPTH:LR", help="this row; may be repeated")
    parser.add_argument("--seeds", type=int, default=1, help="train at most so many of a row's published seeds")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--processes", type=int, default=2, help="trainings at once, one thread each")
    parser.add_argument("--epochs", type=int, help="for a quick look: other than published, so not comparable")
    folder = os.environ.get("HOURGLASS_DATA_DIR")
    parser.add_argument("--datasets", type=Path, default=folder and Path(folder), help="folder of datasets")
    given = parser.parse_args(arguments)
    if min(given.rows, given.seeds, given.processes, given.epochs or 1) < 1:
        parser.error("--rows, --seeds, --processes and --epochs must be 1 or more")
    return given


if __name__ == "__main__":
    sys.exit(main())
