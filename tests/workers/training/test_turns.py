"""Taking turns on a device: who measures is alone, the others step aside and go on."""

import threading
from pathlib import Path
from time import monotonic, sleep

import pytest
import torch

from workers.training import turns as turns_module
from workers.training.train import Stopped
from workers.training.turns import DeviceBusy, Turns

CPU = torch.device("cpu")


def never() -> bool:
    return False


def no_check() -> None:
    pass


class Trainer:
    """A thread that trains, in steps, until told to end."""

    def __init__(self, folder: Path, polls: bool = True) -> None:
        self.steps, self._end, self._polls = 0, threading.Event(), polls
        self._turns, self._started = Turns(CPU, folder), threading.Event()
        self._thread = threading.Thread(target=self._train)

    def __enter__(self) -> "Trainer":
        self._thread.start()
        assert self._started.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join(5)

    def _train(self) -> None:
        with self._turns.training(never):
            self._started.set()
            while not self._end.is_set():
                if self._polls:
                    self._turns.step_aside(self._end.is_set)
                self.steps += 1
                sleep(0.001)


def test_a_training_stands_still_while_another_worker_measures_and_goes_on_afterwards(tmp_path: Path) -> None:
    mine = Turns(CPU, tmp_path)
    with Trainer(tmp_path) as other, mine.training(never):
        with mine.alone(no_check):
            before = other.steps
            sleep(0.1)
            assert other.steps <= before + 1  # the step under way
        deadline = monotonic() + 5
        while other.steps < before + 5 and monotonic() < deadline:
            sleep(0.01)
        assert other.steps >= before + 5


def test_only_one_worker_measures_at_a_time(tmp_path: Path) -> None:
    inside, most = [], []

    def measure() -> None:
        turns = Turns(CPU, tmp_path)
        with turns.training(never), turns.alone(no_check):
            inside.append(1)
            most.append(len(inside))
            sleep(0.05)
            inside.pop()

    threads = [threading.Thread(target=measure) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert most == [1, 1, 1, 1]


def test_whoever_does_not_step_aside_ends_the_wait_with_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns_module, "OTHERS_SECONDS", 0.05)
    mine = Turns(CPU, tmp_path)
    with Trainer(tmp_path, polls=False), mine.training(never):
        with pytest.raises(DeviceBusy, match="other workers did not let a cost be measured"), mine.alone(no_check):
            pass
        mine.step_aside(never)  # and nothing stays locked


def test_a_training_does_not_wait_for_ever_for_a_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = Turns(CPU, tmp_path)
    with Trainer(tmp_path) as other, mine.training(never), mine.alone(no_check):
        before = other.steps
        monkeypatch.setattr(turns_module, "OTHERS_SECONDS", 0.01)
        late = Turns(CPU, tmp_path)
        with late.training(never):  # it would stand still
            late.step_aside(never)
        assert other.steps <= before + 1


def test_an_order_to_stop_ends_both_kinds_of_waiting(tmp_path: Path) -> None:
    def stop() -> None:
        raise Stopped(1)

    mine, other = Turns(CPU, tmp_path), Turns(CPU, tmp_path)
    with mine.training(never), mine.alone(no_check), other.training(lambda: True):
        other.step_aside(lambda: True)
        with pytest.raises(Stopped), other.alone(stop):
            pass


def test_another_users_lock_files_will_do(tmp_path: Path) -> None:
    for name in ("gate", "work"):
        (tmp_path / f"hourglass-cpu.{name}").touch(mode=0o444)
    turns = Turns(CPU, tmp_path)
    with turns.training(never), turns.alone(no_check):
        pass
