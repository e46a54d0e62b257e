from multiprocessing.connection import Connection
from typing import Any

import pytest

from benchmarks import turns
from benchmarks.turns import READY, Heat, Lap, Pacer, Rival, Turn


class Clock:
    """Time that passes when it is told to; stands for the module `time`."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def process_time(self) -> float:
        return 2 * self.now  # two threads

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Parent:
    """The other end of a pacer's connection: hands out turns and keeps what comes back."""

    def __init__(self, *given: Turn) -> None:
        self.given = list(given)
        self.laps: list[Lap] = []

    def recv(self) -> Turn:
        if not self.given:
            raise EOFError
        return self.given.pop(0)

    def send(self, lap: Lap) -> None:
        self.laps.append(lap)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(turns, "time", clock)
    return clock


def train(pacer: Any, clock: Clock) -> None:
    """Epochs of two steps of 1 s and an evaluation of 10 s, until the pacer ends them."""
    stop = pacer.tick(0)
    while not stop:
        for seconds, steps in ((1, 1), (1, 1), (10, 0)):
            clock.sleep(seconds)
            if stop := pacer.tick(steps):
                break


def test_a_turn_counts_steps_up_to_the_deadline_and_no_evaluation(clock: Clock) -> None:
    parent = Parent(Turn(start=5.0, deadline=29.5))  # two epochs of 12 s, then half a step
    train(Pacer(parent), clock)
    assert parent.laps == [Lap(steps=4, seconds=4.0, cpu_seconds=2 * 25.0)]


def test_time_between_turns_counts_in_none(clock: Clock) -> None:
    parent = Parent(Turn(0.0, 1.5), Turn(100.0, 101.5))
    train(Pacer(parent), clock)
    assert [(lap.steps, lap.seconds) for lap in parent.laps] == [(1, 1.0), (1, 1.0)]


def test_a_turn_too_short_for_a_step_has_one(clock: Clock) -> None:
    parent = Parent(Turn(0.0, 0.0))
    train(Pacer(parent), clock)
    assert [(lap.steps, lap.seconds) for lap in parent.laps] == [(1, 1.0)]


def test_a_heat_adds_the_rates_of_its_processes() -> None:
    assert Heat([Lap(10, 2.0, 2.0), Lap(10, 5.0, 5.0)], other_cores=None).steps_per_second == 7


def ticking(connection: Connection) -> None:
    connection.send(READY)
    connection.recv()
    connection.send("warm")
    pacer = Pacer(connection)
    stop = pacer.tick(0)
    while not stop:
        stop = pacer.tick(1)


def dying(connection: Connection) -> None:
    connection.send(READY)


@pytest.mark.usefixtures("threads_for_processes")
def test_all_or_part_of_the_processes_take_a_turn() -> None:
    rival = Rival("ticking", ticking, [(), ()])
    rival.warm_up()
    assert rival.facts == ["warm", "warm"]
    assert [len(rival.take_turn(0.01, processes).laps) for processes in (1, None, 1)] == [1, 2, 1]
    rival.end()


@pytest.mark.usefixtures("threads_for_processes")
def test_a_process_that_dies_is_named() -> None:
    rival = Rival("the dying", dying, [()])
    with pytest.raises(RuntimeError, match="the dying"):
        rival.warm_up()
    rival.end()
