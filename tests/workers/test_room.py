"""Memory that the slots of a worker share: what is promised to one trial is not free for the next."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from time import monotonic, sleep

import pytest
import torch

from nas_service.domain.architecture import TaskShape
from nas_service.domain.search import Recipe
from tests.builders import an_architecture
from workers import room as room_module
from workers.room import Room
from workers.training import memory
from workers.training.memory import DoesNotFit, predicted_peak_bytes
from workers.training.train import Stopped

CPU, SHAPE, RECIPE = torch.device("cpu"), TaskShape(d_x=64, d_y=64), Recipe(precision="fp32", batch_size=1024)
WIDE = an_architecture(d_z=2000, d_h=100, depth=4)
NEED = predicted_peak_bytes(WIDE, SHAPE, 1, 1024, "fp32")


def never() -> bool:
    return False


def wait_until(holds: Callable[[], object]) -> None:
    deadline = monotonic() + 10
    while not holds():
        assert monotonic() < deadline
        sleep(0.005)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Room:
    """A device with memory for two and a half trials, none of which has taken any yet."""
    for module in (room_module, memory):
        monkeypatch.setattr(module, "free_bytes", lambda _: int(2.5 * NEED))
    monkeypatch.setattr(room_module, "resident_bytes", lambda: 0)
    return Room(CPU)


def reserved(room: Room, should_stop: Callable[[], bool] = never) -> AbstractContextManager[int]:
    return room.reserve(WIDE, SHAPE, RECIPE, should_stop)


def test_what_is_promised_is_not_free_until_the_trial_ends(room: Room) -> None:
    with reserved(room) as at_once, reserved(room):
        assert at_once == 1024
        assert room.free() == pytest.approx(0.5 * NEED, abs=1)
        assert not room.another_fits()
    assert room.free() == int(2.5 * NEED)
    assert room.another_fits()


def test_what_the_trials_have_taken_of_it_is_not_counted_twice(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    with reserved(room):
        monkeypatch.setattr(room_module, "resident_bytes", lambda: NEED // 4)
        monkeypatch.setattr(room_module, "free_bytes", lambda _: int(2.25 * NEED))
        assert room.free() == pytest.approx(1.5 * NEED, abs=2)


def test_a_trial_that_does_not_fit_beside_the_others_waits_for_one_to_end(room: Room) -> None:
    started, others = threading.Event(), [reserved(room), reserved(room)]
    for other in others:
        other.__enter__()

    def third() -> None:
        with reserved(room) as at_once:
            assert at_once == 1024
            started.set()

    waiting = threading.Thread(target=third)
    waiting.start()
    wait_until(lambda: room._queue)
    assert not started.wait(0.05)
    others[0].__exit__(None, None, None)
    assert started.wait(10)
    waiting.join(10)
    others[1].__exit__(None, None, None)


def test_a_trial_that_waits_can_be_told_to_stop_and_leaves_the_queue(room: Room) -> None:
    with reserved(room), reserved(room):
        with pytest.raises(Stopped), reserved(room, lambda: True):
            pass
        assert room._queue == []


def test_alone_a_trial_takes_smaller_parts_or_is_refused(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda _: NEED)
    with reserved(room) as at_once:
        assert at_once < 1024
    monkeypatch.setattr(memory, "free_bytes", lambda _: NEED // 10)
    with pytest.raises(DoesNotFit, match="training needs about"), reserved(room):
        pass
    assert room.free() == int(2.5 * NEED)


def test_a_failed_trial_gives_its_part_back_and_lets_its_tensors_go(room: Room) -> None:
    def train() -> None:
        tensors = [torch.zeros(3)]
        raise RuntimeError(f"boom with {len(tensors)}")

    with pytest.raises(RuntimeError) as failed, reserved(room):
        train()
    assert failed.traceback[-1].frame.f_locals == {}
    assert room.free() == int(2.5 * NEED)
