"""The step that a GPU replays, with a recording that a CPU can make: calling the same again."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nas_service.domain.architecture import Architecture
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Denoising
from workers.training import train as train_module
from workers.training.datasets import LoadedDataset
from workers.training.noise import counted_noise
from workers.training.replay import WARM_UP, ReplayedStep, replayed
from workers.training.train import train_replicates

CPU = torch.device("cpu")


def call_again(compute: Callable[[], None], _: torch.device) -> Callable[[], None]:
    return compute


class Ledger:
    """A step that writes down what it was given, and whether it came through the tensors that stay."""

    def __init__(self) -> None:
        self.rows: list[tuple[list[list[int]], int, float]] = []
        self.places: set[int] = set()

    def __call__(self, items: Tensor, epoch: int | Tensor, rate: float | Tensor) -> None:
        self.rows.append((items.tolist(), int(epoch), round(float(rate), 6)))
        self.places.add(items.data_ptr())


def batch(first: int) -> Tensor:
    return torch.tensor([[first, first + 1]])


def test_every_step_sees_its_own_items_epoch_and_rate() -> None:
    ledger = Ledger()
    step = ReplayedStep(ledger, CPU, record=call_again)
    given = [(batch(10 * number), number, 0.5 / (1 + number)) for number in range(WARM_UP + 4)]
    for items, epoch, rate in given:
        step(items, epoch, rate)
    assert ledger.rows == [(items.tolist(), epoch, round(rate, 6)) for items, epoch, rate in given]
    assert len(ledger.places) == 1


def test_the_recording_is_made_once_and_after_the_warm_up() -> None:
    recorded_after: list[int] = []
    ledger = Ledger()

    def record(compute: Callable[[], None], _: torch.device) -> Callable[[], None]:
        recorded_after.append(len(ledger.rows))
        return compute

    step = ReplayedStep(ledger, CPU, record)
    for number in range(WARM_UP + 5):
        step(batch(number), 0, 1.0)
    assert recorded_after == [WARM_UP]


def test_a_smaller_last_batch_is_trained_without_the_recording() -> None:
    ledger = Ledger()
    replays: list[None] = []
    step = ReplayedStep(ledger, CPU, record=lambda _compute, _device: lambda: replays.append(None))
    for number in range(WARM_UP + 2):
        step(batch(number), 0, 1.0)
    step(torch.tensor([[7]]), 3, 0.25)
    assert ledger.rows[-1] == ([[7]], 3, 0.25)
    assert len(replays) == 2


def test_a_step_that_cannot_be_recorded_goes_on_as_it_is() -> None:
    def refuse(_compute: Callable[[], None], _device: torch.device) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    ledger = Ledger()
    step = ReplayedStep(ledger, CPU, refuse)
    for number in range(WARM_UP + 3):
        step(batch(number), number, 1.0)
    assert [epoch for _, epoch, _ in ledger.rows] == list(range(WARM_UP + 3))


def test_a_cpu_calls_the_step_as_it_is() -> None:
    ledger = Ledger()
    assert replayed(ledger, CPU) is ledger


@pytest.mark.parametrize("epoch", [0, 3, 99_999])
def test_noise_of_an_epoch_in_a_tensor_is_the_same(epoch: int) -> None:
    samples, visits = torch.arange(5), torch.zeros(5, dtype=torch.int64)
    by_number = counted_noise(42, 1, epoch, visits, samples, 10)
    assert torch.equal(counted_noise(42, 1, torch.tensor(epoch), visits, samples, 10), by_number)


@pytest.mark.parametrize("at_once", [None, 8])
def test_a_replayed_training_is_the_plain_one(
    digits: LoadedDataset,
    an_architecture: Callable[..., Architecture],
    monkeypatch: pytest.MonkeyPatch,
    at_once: int | None,
) -> None:
    recipe = Recipe(epochs=3, batch_size=32, augment=2, precision="fp32", replicates=2)

    def trained() -> list[dict[str, float]]:
        ended = train_replicates(
            an_architecture(), Denoising(kind="denoising"), recipe, 1e-3, (42, 43), digits, CPU, at_once=at_once
        )
        return [one.metrics["eval"] for one in ended]

    plain = trained()
    monkeypatch.setattr(train_module, "replayed", lambda step, device: ReplayedStep(step, device, record=call_again))
    for replayed_one, plain_one in zip(trained(), plain, strict=True):
        assert replayed_one == pytest.approx(plain_one, rel=1e-4)  # the learning rate is in fp32 there
