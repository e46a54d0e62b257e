"""Whole trainings with what was seen on the way, for `stopping.py` to replay: the published curves, and fresh ones.

A fresh training is one of a search on MNIST at half its resolution (14 x 14) with a quarter of its images, under the
published recipe: 30 epochs, batches of 128, a falling learning rate; 2,900 steps, about 10 s on one core. At each rung
it is seen in four ways, of which the last two train further epochs:

    raw        the weights as they are
    averaged   the mean of the weights over the second half of the epoch: what `stopping: halving` measures
    branch     a copy that ends its training within a third as many epochs again; the trial goes on without them
    annealed   a training of its own, as if the rung were its last epoch; whoever goes on begins anew
"""

import gzip
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import count, islice
from math import log10
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nas_service.domain.costs import known_costs
from nas_service.domain.published import published_arm, published_task
from nas_service.domain.search import Search
from nas_service.domain.stopping import AVERAGE
from nas_service.domain.tasks import Dataset, task_shape
from nas_service.domain.trial import Proposal
from nas_service.optimizer import ArmStudy
from workers.training.checkpoint import TrainingState
from workers.training.datasets import LoadedDataset, Split, load_dataset
from workers.training.train import Diverged, train_replicates

CPU = torch.device("cpu")
IMAGES = {"train": 12_500, "eval": 2_000, "test": 1_000}
PLAIN = {"family": "conventional", "w_in": "none", "w_out": "none", "d_z": 196, "d_h": [197, 800], "depth": [1, 3]}
SEARCH = {
    "name": "early stopping",
    "dataset": {"path": "npz:mnist14.npz", "image_shape": [1, 14, 14], "classes": 10},
    "task": {"kind": "denoising"},
    "recipe": {"epochs": 30, "batch_size": 128},
    "arms": {
        "hourglass": {"family": "hourglass", "d_z": [197, 500], "d_h": [4, 120], "depth": [1, 6], "lr": [3e-4, 1e-2]},
        "conventional-plain": {**PLAIN, "lr": [3e-4, 1e-2]},
    },
    "budget": {"trials_per_arm": 1000},
    "sampler": "random",
    "stopping": "halving",
}


@dataclass(frozen=True)
class Run:
    """One whole training."""

    arm: str
    parameters: int
    psnr_db: float  # at its end, on the evaluation split
    seen: dict[str, dict[int, float]]  # way of looking: {epoch of a rung: the quality there, more is better}


@dataclass(frozen=True)
class Runs:
    """Trainings of one recipe."""

    epochs: int
    runs: tuple[Run, ...]
    # way of looking: further epochs that it costs to look at a rung, and whether whoever goes on begins anew
    costs: dict[str, tuple[dict[int, int], bool]]


def published_runs(path: Path, epochs: int, rungs: Iterable[int]) -> Runs:
    """The published curves of that many epochs; the training loss alone was kept for every epoch.

    Raises:
        ValueError: when the file has none.
    """
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        rows = [row for row in map(json.loads, file) if row["epochs"] == epochs]
    if not rows:
        raise ValueError(f"{path} has no curve of {epochs} epochs")
    return Runs(epochs, tuple(_published_run(row, rungs) for row in rows), {"train_mse": ({}, False)})


def _published_run(row: dict[str, Any], rungs: Iterable[int]) -> Run:
    dataset, task = published_task(row["task"])
    architecture = published_arm(row["arm"]).architecture(row["d_z"], row["d_h"], row["depth"])
    parameters = known_costs(architecture, task_shape(task, dataset)).parameters_trainable
    seen = {"train_mse": {epoch: -row["train_mse"][epoch - 1] for epoch in rungs}}
    return Run(row["arm"], parameters, -10 * log10(row["eval_mse"][-1]), seen)


def fresh_runs(path: Path, wanted: int, data_dir: Path | None) -> Runs:
    """Read the trainings kept in a file of JSON lines, and train until it holds so many of each arm."""
    search = Search.model_validate(SEARCH)
    kept = kept_rows(path)
    there = {(row["arm"], row["number"]) for row in kept}
    proposals = {arm: _proposals(search, arm, wanted) for arm in search.arms}
    for number in range(wanted):
        for arm in search.arms:
            if (arm, number) not in there:
                run = trained(search, arm, proposals[arm][number], small_mnist(data_dir))
                kept.append({"number": number, **asdict(run)})
                keep_row(path, kept[-1])
    runs = tuple(_run_of(row) for row in kept if row["number"] < wanted and row["psnr_db"] is not None)
    branch = {epoch: branch_epochs(epoch) for epoch in search.rungs}
    costs = {"raw": ({}, False), "averaged": ({}, False), "branch": (branch, False)}
    return Runs(search.recipe.epochs, runs, {**costs, "annealed": ({epoch: epoch for epoch in search.rungs}, True)})


def branch_epochs(rung: int) -> int:
    """Within how many epochs a copy ends its training."""
    return max(1, rung // 3)


def _run_of(row: dict[str, Any]) -> Run:
    seen = {way: {int(epoch): psnr for epoch, psnr in at.items()} for way, at in row["seen"].items()}
    return Run(row["arm"], row["parameters"], row["psnr_db"], seen)


def _proposals(search: Search, arm: str, wanted: int) -> list[Proposal]:
    """The arm's first proposals, always the same."""
    study = ArmStudy(search, arm)
    answers = (study.propose() for _ in count())
    return list(islice((answer.accepted for answer in answers if answer.accepted is not None), wanted))


def trained(search: Search, arm: str, proposal: Proposal, data: LoadedDataset) -> Run:
    """Train a proposal to its end, and what every way of looking needs besides; a diverged one has no PSNR."""
    seen: dict[str, dict[int, float]] = {"raw": {}, "averaged": {}, "branch": {}, "annealed": {}}
    states: dict[int, TrainingState] = {}

    def note(replicate: int, epoch: int, metrics: dict[str, float]) -> None:
        if epoch + 1 in search.rungs:
            seen["raw"][epoch + 1] = metrics["psnr_db"]
            seen["averaged"][epoch + 1] = metrics["psnr_db" + AVERAGE]

    def keep(state: TrainingState) -> None:
        if state.epochs in search.rungs:
            states[state.epochs] = state

    def psnr_db(epochs: int, **options: Any) -> float | None:
        recipe = search.recipe.model_copy(update={"epochs": epochs})
        what = (proposal.architecture, search.task, recipe, proposal.lr, (search.trial_seed,), data, CPU)
        (ended,) = train_replicates(*what, **options)
        return None if isinstance(ended, Diverged) else ended.metrics["eval"]["psnr_db"]

    final = psnr_db(search.recipe.epochs, on_epoch=note, on_state=keep, rungs=search.rungs)
    for rung in search.rungs if final is not None else ():
        seen["branch"][rung] = psnr_db(rung + branch_epochs(rung), resume_from=states[rung])
        seen["annealed"][rung] = psnr_db(rung)
    return Run(arm, proposal.costs.parameters_trainable, final, seen)


def kept_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a file of JSON lines; none where there is no file yet."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def keep_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a file of JSON lines."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


@cache
def small_mnist(data_dir: Path | None) -> LoadedDataset:
    """The first images of MNIST at half their resolution."""
    whole = load_dataset(Dataset(name="mnist"), data_dir, fetch=False)
    parts = {name: _halved(getattr(whole, name), images) for name, images in IMAGES.items()}
    return replace(whole, dataset=Dataset.model_validate(SEARCH["dataset"]), **parts)


def _halved(split: Split, images: int) -> Split:
    """The first images at half their resolution: each pixel the mean of four."""
    small: Tensor = F.avg_pool2d(split.images[:images].float(), 2).round().to(torch.uint8)
    return Split(small, split.labels[:images])
