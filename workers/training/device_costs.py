"""The costs of a trained trial that only its device can tell, as a search asks for them (`domain.objectives`)."""

from collections.abc import Sequence

import torch

from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Task
from workers.training.datasets import LoadedDataset
from workers.training.latency import measure_latency
from workers.training.peak_memory import measure_peak_memory
from workers.training.run_trial import TrialOutcome
from workers.training.train import ShouldStop, Stopped
from workers.training.turns import Turns

LATENCY_BATCHES = {"latency_ms": 1, "latency_batch256_ms": 256}


def measure_device_costs(
    wanted: Sequence[str],
    outcome: TrialOutcome,
    task: Task,
    recipe: Recipe,
    data: LoadedDataset,
    device: torch.device,
    turns: Turns,
    should_stop: ShouldStop,
) -> dict[str, float]:
    """Measure what is wanted; latency and memory with the device alone, as far as `turns` can tell.

    Args:
        wanted: names of measured costs.
        outcome: of the trial; its network is timed.
        task: as it was trained.
        recipe: as it was trained.
        data: as it was trained.
        device: where it was trained.
        turns: inside of its `training` block, which this ends.
        should_stop: asked while waiting for the device.

    Returns:
        Each cost by its name, and the interquartile range of a latency's runs as `<name>_iqr`.

    Raises:
        DeviceBusy: when the device could not be had alone in time.
        Stopped: when `should_stop` said so.
    """

    def check() -> None:
        if should_stop():
            raise Stopped(recipe.epochs)

    costs = {"train_seconds": outcome.train_seconds} if "train_seconds" in wanted else {}
    if set(wanted) <= costs.keys():
        return costs
    with turns.alone(check):
        for name, batch in LATENCY_BATCHES.items():
            if name in wanted:
                costs[name], costs[f"{name}_iqr"] = measure_latency(outcome.network, batch, recipe, device)
        if "peak_memory_bytes" in wanted:
            seeds = [outcome.network.seeds[0] + replicate for replicate in range(recipe.replicates)]
            costs["peak_memory_bytes"] = measure_peak_memory(
                outcome.network.architecture, task, recipe, outcome.lr, seeds, data, device
            )
    return costs
