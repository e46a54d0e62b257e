"""How long a trained network takes to answer one batch: the median of warm runs.

One run at a time, in evaluation mode, at the precision of the recipe, on one thread of a CPU; inputs are on the device.
Leaves out having the device alone (`turns.py`).
"""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import quantiles
from time import perf_counter
from typing import NamedTuple

import torch

from nas_service.domain.search import Recipe
from workers.training.network import Network
from workers.training.precision import DTYPES, multiply_by_onednn, precision_of, rounded

WARM_UP_SECONDS, MEASURE_SECONDS = 0.2, 0.7  # of each batch size
LEAST_RUNS, MOST_RUNS = 5, 2000  # whatever the seconds


class Latency(NamedTuple):
    """Milliseconds of one batch."""

    median_ms: float
    iqr_ms: float  # how far the middle half of the runs spreads


@torch.inference_mode()
def measure_latency(network: Network, batch: int, recipe: Recipe, device: torch.device) -> Latency:
    """Time batches of that many examples.

    Args:
        network: of one replicate; it is moved to the device and back.
        batch: examples in a run.
        recipe: names the precision.
        device: where it runs.
    """
    before = next(network.parameters()).device
    network = network.to(device).eval()
    multiply_by_onednn()
    answer = rounded(network, DTYPES[precision_of(recipe, device)])
    inputs = torch.rand(1, batch, network.shape.d_x, generator=torch.Generator().manual_seed(0)).to(device)
    timed = _stopwatch(lambda: answer(inputs), device)
    with _quiet():
        list(_runs(timed, WARM_UP_SECONDS))
        seconds = list(_runs(timed, MEASURE_SECONDS))
    network.to(before)
    low, median, high = quantiles(seconds, n=4)
    return Latency(1e3 * median, 1e3 * (high - low))


def _runs(timed: Callable[[], float], seconds: float) -> Iterator[float]:
    end = perf_counter() + seconds
    for run in range(MOST_RUNS):
        if run >= LEAST_RUNS and perf_counter() > end:
            return
        yield timed()


def _stopwatch(run: Callable[[], object], device: torch.device) -> Callable[[], float]:
    """A function that runs once, the device idle before and after, and returns the seconds it took."""

    def on_cuda() -> float:
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        torch.cuda.synchronize(device)
        start.record(torch.cuda.current_stream(device))
        run()
        end.record(torch.cuda.current_stream(device))
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3

    def elsewhere() -> float:
        start = perf_counter()
        run()
        if device.type == "mps":
            torch.mps.synchronize()
        return perf_counter() - start

    return on_cuda if device.type == "cuda" else elsewhere


@contextmanager
def _quiet() -> Iterator[None]:
    """One thread of torch and no collection of garbage."""
    threads, collects = torch.get_num_threads(), gc.isenabled()
    torch.set_num_threads(1)
    gc.disable()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if collects:
            gc.enable()
