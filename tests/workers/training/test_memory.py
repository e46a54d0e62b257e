"""Predicted memory against what a training takes in a process of its own; planning by it."""

import subprocess
import sys

import pytest
import torch

from nas_service.domain.architecture import TaskShape
from nas_service.domain.search import Recipe
from workers.training import memory
from workers.training.memory import (
    DoesNotFit,
    fitting_batch,
    free_bytes,
    halve_when_out_of_memory,
    predicted_peak_bytes,
)
from workers.training.train import micro_batches, train_replicates

CPU = torch.device("cpu")
SHAPE = TaskShape(d_x=64, d_y=64)

MEASURE = """
import gc, sys, threading, time, torch
torch.set_num_threads(1)
from nas_service.domain.architecture import Architecture, TaskShape
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Dataset, Denoising
from workers.training.datasets import load_dataset
from workers.training.memory import keep_memory_compact, predicted_peak_bytes
from workers.training.train import Stopped, train_replicates

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096

def train(architecture, recipe, replicates):
    polls = iter([False, True])
    try:
        train_replicates(architecture, task, recipe, 1e-3, range(replicates), data, torch.device("cpu"),
                         should_stop=lambda: next(polls))
    except Stopped:
        pass

keep_memory_compact()
d_z, d_h, depth, replicates, batch = map(int, sys.argv[1:6])
data, task = load_dataset(Dataset(name="digits"), None, False), Denoising(kind="denoising")
train(Architecture(family="hourglass", d_z=65, d_h=8, depth=1), Recipe(precision=sys.argv[6]), 1)
gc.collect()
idle = peak = resident()
ended = threading.Event()
def watch():
    global peak
    while not ended.wait(0.002):
        peak = max(peak, resident())
watcher = threading.Thread(target=watch)
watcher.start()
architecture = Architecture(family="hourglass", d_z=d_z, d_h=d_h, depth=depth)
train(architecture, Recipe(precision=sys.argv[6], batch_size=batch), replicates)
ended.set()
watcher.join()
shape = TaskShape(d_x=64, d_y=64)
print(peak - idle, predicted_peak_bytes(architecture, shape, replicates, batch, sys.argv[6]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
@pytest.mark.parametrize(
    ("sizes", "precision"),
    [((4096, 1024, 6, 1, 128), "fp32"), ((4096, 1024, 6, 1, 128), "bf16"), ((1024, 256, 8, 8, 256), "fp32")],
)
def test_the_prediction_is_within_20_percent_of_what_training_adds_to_an_idle_worker(
    sizes: tuple[int, ...], precision: str
) -> None:
    command = [sys.executable, "-c", MEASURE, *map(str, sizes), precision]
    output = subprocess.run(command, capture_output=True, text=True, check=True, timeout=110).stdout
    grown, predicted = map(int, output.split())
    assert grown > 400e6
    assert predicted == pytest.approx(grown, rel=0.2)


def test_more_of_anything_needs_more_memory(an_architecture) -> None:
    small = predicted_peak_bytes(an_architecture(d_z=80, d_h=8), SHAPE, 1, 64, "fp32")
    assert predicted_peak_bytes(an_architecture(d_z=800, d_h=8), SHAPE, 1, 64, "fp32") > small
    assert predicted_peak_bytes(an_architecture(d_z=80, d_h=8, depth=50), SHAPE, 1, 512, "fp32") > small
    assert predicted_peak_bytes(an_architecture(d_z=80, d_h=8), SHAPE, 4, 64, "fp32") == 4 * small


@pytest.mark.parametrize(("share", "batch"), [(10, 256), (0.9, 128), (0.25, 32)])
def test_the_batch_is_halved_until_it_fits(an_architecture, monkeypatch, share: float, batch: int) -> None:
    wide, recipe = an_architecture(d_z=2000, d_h=2, depth=40), Recipe(batch_size=256)
    whole = predicted_peak_bytes(wide, SHAPE, 1, 256, "fp32")
    monkeypatch.setattr(memory, "free_bytes", lambda _: int(share * whole))
    assert fitting_batch(wide, SHAPE, recipe, "fp32", CPU) == batch


def test_what_does_not_fit_is_refused_with_the_numbers(an_architecture, monkeypatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: 10_000_000)
    with pytest.raises(DoesNotFit, match=r"needs about \d+\.\d GB even with 16 examples .* 0\.0 GB are free on cpu"):
        fitting_batch(an_architecture(d_z=5000, d_h=500, depth=10), SHAPE, Recipe(), "fp32", CPU)


def test_free_memory_is_told() -> None:
    assert free_bytes(CPU) > 100_000_000


def test_running_out_of_memory_halves_the_part_until_it_fits() -> None:
    tried: list[int] = []

    def train(at_once: int) -> str:
        tried.append(at_once)
        if at_once > 32:
            raise torch.OutOfMemoryError("no room")
        return "trained"

    assert halve_when_out_of_memory(train, 128, Recipe(batch_size=128)) == ("trained", 32)
    assert tried == [128, 64, 32]


def test_when_an_eighth_does_not_fit_either_the_message_has_the_numbers() -> None:
    def train(_: int) -> None:
        raise MemoryError("no room")

    with pytest.raises(DoesNotFit, match="out of memory with 16 examples at once of a batch of 128: no room"):
        halve_when_out_of_memory(train, 128, Recipe(batch_size=128))


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_gradients_added_up_over_parts_are_those_of_the_batch(norm: str, an_architecture, denoising, digits) -> None:
    architecture, recipe = an_architecture(norm=norm), Recipe(epochs=2, batch_size=64, precision="fp32")
    ended = [
        train_replicates(architecture, denoising, recipe, 3e-3, (42,), digits, CPU, at_once=at_once)[0]
        for at_once in (64, 20)
    ]
    whole, parts = (one.metrics["eval"]["psnr_db"] for one in ended)
    # but for the statistics of BatchNorm, which are those of a part
    assert whole == pytest.approx(parts, abs=1e-3 if norm == "layer" else 0.5)
    assert norm == "layer" or whole != parts


def test_a_batch_splits_into_equal_parts_of_more_than_one_image() -> None:
    for batch in range(4, 70):
        for at_once in (4, 5, 16):
            sizes = [part.shape[1] for part in micro_batches(torch.zeros(1, batch), at_once)]
            assert sum(sizes) == batch
            assert 2 <= min(sizes) <= max(sizes) <= at_once
