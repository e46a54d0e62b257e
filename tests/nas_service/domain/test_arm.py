from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from pydantic import ValidationError

from nas_service.domain.architecture import Architecture, Family, IllegalArchitecture, TaskShape, WIn, WOut
from nas_service.domain.arm import Arm
from nas_service.domain.costs import known_costs
from tests.builders import an_arm

DIGITS = TaskShape(d_x=64, d_y=64)
TASK = TaskShape(d_x=6, d_y=6)


def ranges_of(low: int, high: int) -> SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted).map(tuple)


@st.composite
def small_arms(draw: st.DrawFn) -> Arm:
    fields = {"family": draw(st.sampled_from(Family)), "w_in": draw(st.sampled_from(WIn)), "lr": 1e-3}
    fields |= {"w_out": draw(st.sampled_from(WOut)), "d_z": draw(ranges_of(1, 14)), "depth": draw(ranges_of(1, 3))}
    if draw(st.booleans()):
        return Arm.model_validate(fields | {"d_h": draw(ranges_of(1, 16))})
    ratios = st.tuples(st.floats(0.01, 3), st.floats(0.01, 3)).map(sorted).map(tuple)
    return Arm.model_validate(fields | {"d_h_ratio": draw(ratios)})


def members(arm: Arm) -> list[Architecture]:
    """Every network of a small arm, by trying all sizes; depth at its ends only."""
    found = []
    for d_z in range(arm.d_z_range[0], arm.d_z_range[1] + 1):
        low, high = arm.d_h_range(d_z)
        for d_h in range(low, high + 1):
            for depth in set(arm.depth_range):
                network = arm.architecture(d_z, d_h, depth)
                try:
                    network.check_fits(TASK)
                except IllegalArchitecture:
                    continue
                found.append(network)
    return found


@settings(deadline=None, max_examples=300)
@given(small_arms())
def test_smallest_and_largest_bound_the_costs_of_every_member(arm: Arm) -> None:
    costs = [known_costs(network, TASK) for network in members(arm)]
    assume(costs)
    cheapest, dearest = known_costs(arm.smallest(TASK), TASK), known_costs(arm.largest(TASK), TASK)
    for name, value in cheapest.model_dump(exclude_none=True).items():
        assert value == min(getattr(cost, name) for cost in costs)
        assert getattr(dearest, name) == max(getattr(cost, name) for cost in costs)


@settings(deadline=None, max_examples=300)
@given(small_arms())
def test_an_arm_without_members_has_no_corners(arm: Arm) -> None:
    assume(not members(arm))
    for corner in (arm.smallest, arm.largest):
        with pytest.raises(IllegalArchitecture):
            corner(TASK)


def test_a_number_is_a_range_of_one() -> None:
    arm = an_arm(d_z=70, depth=3, lr=2e-3)
    assert (arm.d_z_range, arm.depth_range, arm.lr_range) == ((70, 70), (3, 3), (2e-3, 2e-3))


def test_two_learning_rates_are_a_range_and_three_a_list() -> None:
    assert (an_arm(lr=[1e-3, 1e-2]).lr_range, an_arm(lr=[1e-3, 1e-2]).lr_values) == ((1e-3, 1e-2), None)
    assert (an_arm(lr=[1e-4, 1e-3, 1e-2]).lr_range, an_arm(lr=[1e-2, 1e-3, 1e-4]).lr_values) == (
        None,
        (1e-2, 1e-3, 1e-4),
    )


def test_an_inner_width_stays_legal_beside_every_skip_width() -> None:
    assert an_arm(d_z=[5, 100], d_h=[4, 50]).d_h_range(20) == (4, 19)
    wide = an_arm(family="conventional", d_z=[5, 100], d_h=[4, 50])
    assert (wide.d_h_range(20), wide.d_h_range(3)) == ((21, 50), (4, 50))


def test_a_ratio_is_of_the_skip_width() -> None:
    arm = an_arm(d_z=[10, 1000], d_h=None, d_h_ratio=[0.1, 0.5])
    assert (arm.d_h_range(100), arm.d_h_range(10)) == ((10, 50), (1, 5))
    assert an_arm(family="conventional", d_z=100, d_h=None, d_h_ratio=[0.5, 4]).d_h_range(100) == (101, 400)


def test_a_ratio_leaves_room_only_beside_skip_widths_wide_enough() -> None:
    arm = an_arm(d_z=[1, 100], d_h=None, d_h_ratio=0.9)
    smallest = arm.smallest(DIGITS)
    assert (smallest.d_z, smallest.d_h) == (5, 4)  # 0.9 x 4 rounds to 4 itself


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_z": [128, 64]}, r"d_z must be \[low, high\] with low <= high \(got \[128, 64\]\)"),
        ({"depth": [4, 1]}, r"depth must be \[low, high\]"),
        ({"lr": [1e-2, 1e-3]}, r"lr must be \[low, high\]"),
        ({"lr": [1e-3, 1e-2, 1e-3]}, "the learning rates in a list must differ"),
        ({"lr": 0}, "must be a number above 0"),
        ({"lr": [1e-3]}, "or a list of 3 to 20"),
        ({"d_h_ratio": 0.5}, "either d_h or d_h_ratio"),
        ({"d_h": None}, "either d_h or d_h_ratio"),
        ({"d_z": 0}, r"must be a whole number from 1 to 1,000,000, or \[low, high\]"),
        ({"d_z": [64, 128, 256]}, r"must be a whole number"),
        ({"depth": 1.5}, r"must be a whole number from 1 to 1,000"),
    ],
)
def test_a_faulty_arm_is_refused_and_the_reason_named(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        an_arm(**changes)
    assert caught.value.error_count() == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"w_in": "none"}, r"no d_z in \[65, 128\] is legal: w_in none needs d_z equal to d_x \(got d_z=128, d_x=64\)"),
        ({"w_in": "identity", "d_z": [10, 63]}, "needs d_z of at least d_x"),
        ({"w_out": "tied", "w_in": "identity"}, "w_out tied needs a w_in that is learned or fixed"),
        ({"d_h": [128, 200]}, r"hourglass needs d_h below d_z, and d_h \(128, 200\) leaves none beside d_z=128"),
        ({"family": "conventional", "d_h": 65}, "conventional needs d_h above d_z, and d_h 65 leaves none"),
    ],
)
def test_an_arm_illegal_for_the_task_says_so_in_one_sentence(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(IllegalArchitecture, match=message) as caught:
        an_arm(**changes).smallest(DIGITS)
    assert "\n" not in str(caught.value)


def test_an_arm_makes_architectures_of_its_own_kind_only() -> None:
    network = an_arm(w_in="fixed_sparse", norm="rms", activation="gelu").architecture(70, 8, 2)
    assert (network.w_in, network.norm, network.activation) == ("fixed_sparse", "rms", "gelu")
    with pytest.raises(IllegalArchitecture, match="got d_h=70, d_z=70"):
        an_arm().architecture(70, 70, 2)


def test_a_searched_learning_rate_must_be_said_and_a_fixed_one_need_not() -> None:
    assert an_arm(lr=[1e-3, 1e-2]).fixed_or(5e-3) == 5e-3
    assert an_arm(lr=2e-3).fixed_or(None) == 2e-3
    assert an_arm(lr=[1e-3, 2e-3, 3e-3]).fixed_or(None) == (1e-3, 2e-3, 3e-3)
    with pytest.raises(ValueError, match="say which one to train"):
        an_arm(lr=[1e-3, 1e-2]).fixed_or(None)
    with pytest.raises(ValueError, match=r"this arm trains lr 0\.002"):
        an_arm(lr=2e-3).fixed_or(1e-3)


@pytest.mark.parametrize(
    ("changes", "shape", "faulty"),
    [
        ({}, (65, 4, 1, 1e-3), set()),
        ({}, (128, 32, 4, 1e-2), set()),
        ({}, (64, 33, 5, 2e-2), {"d_z", "d_h", "depth", "lr"}),
        ({}, (65, 70, 1, 1e-3), {"d_h"}),
        ({}, (65, 4, 1, 0.0009996), set()),  # 1e-3 to 3 digits
        ({"lr": 2e-3}, (65, 4, 1, 2.001e-3), set()),
        ({"lr": 2e-3}, (65, 4, 1, 3e-3), {"lr"}),
        ({"lr": [1e-3, 2e-3, 4e-3]}, (65, 4, 1, 2e-3), set()),
        ({"lr": [1e-3, 2e-3, 4e-3]}, (65, 4, 1, 3e-3), {"lr"}),
        ({"d_h": None, "d_h_ratio": [0.1, 0.5]}, (100, 10, 1, 1e-3), set()),
        ({"d_h": None, "d_h_ratio": [0.1, 0.5]}, (100, 9, 1, 1e-3), {"d_h"}),
    ],
)
def test_what_lies_outside_of_an_arm_is_named_by_field(
    changes: dict[str, object], shape: tuple[int, int, int, float], faulty: set[str]
) -> None:
    assert set(an_arm(**changes).faults_of(*shape)) == faulty
