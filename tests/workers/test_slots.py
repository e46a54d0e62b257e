"""The number of slots that `--slots auto` finds: decisions from measurements, measurements from epochs."""

from collections.abc import Callable

import pytest

from workers.slots import LEAST_SECONDS, AutoSlots, Measured, Pace


def after(auto: AutoSlots, throughput_of: Callable[[int], float], rounds: int = 40, fits: bool = True) -> list[int]:
    """The numbers of slots that it goes through where n slots have that throughput."""
    return [auto.decide(Measured(throughput_of(auto.slots), size=1), fits) for _ in range(rounds)]


def test_slots_are_added_while_each_pays_a_tenth_and_the_one_that_does_not_goes() -> None:
    throughput = {1: 100, 2: 180, 3: 230, 4: 240}  # the fourth brings 4 %
    assert after(AutoSlots(), throughput.__getitem__, rounds=6) == [2, 3, 4, 3, 3, 3]


def test_a_device_that_one_trial_fills_keeps_one_slot() -> None:
    assert after(AutoSlots(), lambda _: 100, rounds=4) == [2, 1, 1, 1]


def test_there_are_never_more_than_the_most() -> None:
    assert after(AutoSlots(most=3), lambda slots: 100 * slots, rounds=5) == [2, 3, 3, 3, 3]
    assert after(AutoSlots(most=1), lambda slots: 100 * slots, rounds=2) == [1, 1]


def test_no_slot_is_added_while_another_trial_would_not_fit() -> None:
    auto = AutoSlots()
    assert after(auto, lambda slots: 100 * slots, rounds=3, fits=False) == [1, 1, 1]
    assert after(auto, lambda slots: 100 * slots, rounds=1) == [2]
    assert after(auto, lambda slots: 100 * slots, rounds=2, fits=False) == [2, 2]  # it paid and stays


def test_once_settled_only_trials_of_another_size_open_the_question_again() -> None:
    auto = AutoSlots()
    after(auto, lambda _: 100, rounds=2)
    assert auto.decide(Measured(1000, size=1.9), another_fits=True) == 1
    assert auto.decide(Measured(10, size=2.1), another_fits=True) == 2


def test_trials_of_different_sizes_are_not_compared_and_the_slot_is_tried_again() -> None:
    auto = AutoSlots()
    assert auto.decide(Measured(100, size=1), another_fits=True) == 2
    assert auto.decide(Measured(500, size=3), another_fits=True) == 1
    assert auto.decide(Measured(200, size=3), another_fits=True) == 2
    assert auto.decide(Measured(300, size=3), another_fits=True) == 3


def noted(pace: Pace, slot: int, seconds: float, epochs: int, images: int = 1000, macs: int = 4) -> None:
    """Epochs of equal length, the first of which ends at 0."""
    for epoch in range(epochs + 1):
        pace.note(slot, images, macs, now=epoch * seconds / epochs)


def test_throughput_is_summed_over_the_slots_from_whole_epochs() -> None:
    pace = Pace()
    noted(pace, 0, seconds=10, epochs=5)
    noted(pace, 1, seconds=20, epochs=2, macs=16)
    measured = pace.measured(2)
    assert measured.throughput == pytest.approx(5 * 1000 * 2 / 10 + 2 * 1000 * 4 / 20)
    assert measured.size == pytest.approx((5 * 2 + 2 * 4) / 7)


def test_nothing_is_measured_until_every_slot_was_watched_long_enough() -> None:
    pace = Pace()
    noted(pace, 0, seconds=LEAST_SECONDS, epochs=1)
    assert pace.measured(2) is None
    noted(pace, 1, seconds=0.9 * LEAST_SECONDS, epochs=9)
    assert pace.measured(2) is None
    assert pace.measured(1) is not None
    pace.restart()
    assert pace.measured(1) is None
