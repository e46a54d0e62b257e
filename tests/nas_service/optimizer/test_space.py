"""The region as dimensions and back, legality, and seeds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_service.optimizer.legality import judge
from nas_service.optimizer.samplers import is_random, seed_of
from nas_service.optimizer.space import Candidate, Space

from .builders import ARM, a_search

BY_RATIO = {"family": "hourglass", "d_z": [10, 900], "d_h_ratio": [0.031, 1.0], "depth": [1, 9], "lr": [1e-4, 3e-3]}


def test_only_what_varies_is_suggested() -> None:
    arm = a_search(arm={"family": "hourglass", "d_z": 100, "d_h": [4, 90], "depth": [2, 2], "lr": 1e-3}).arms[ARM]
    space = Space(arm)
    assert list(space.distributions) == ["d_h"]
    assert space.decode({"d_h": 7}) == Candidate(100, 7, 2, 1e-3)


@given(d_z=st.integers(10, 900), ratio=st.floats(0.031, 1.0), depth=st.integers(1, 9), lr=st.floats(1e-4, 3e-3))
def test_an_inner_width_by_ratio_survives_the_way_there_and_back(d_z: int, ratio: float, depth: int, lr: float) -> None:
    space = Space(a_search(arm=BY_RATIO).arms[ARM])
    candidate = space.decode({"d_z": d_z, "d_h_ratio": ratio, "depth": depth, "lr": lr})
    assert space.decode(space.encode(candidate)) == candidate


@given(d_z=st.integers(1, 300), d_h=st.integers(1, 300), depth=st.integers(1, 5))
@settings(deadline=None)
def test_the_distance_is_above_0_exactly_for_refused_candidates(d_z: int, d_h: int, depth: int) -> None:
    search = a_search(limits={"max_parameters": 60_000, "max_macs": 70_000})
    verdict = judge(search, search.arms[ARM], (d_z, d_h, depth))
    assert (verdict.distance > 0) == (verdict.message is not None)


def test_the_distance_grows_with_what_is_wrong() -> None:
    search = a_search(limits={"max_parameters": 60_000})
    distances = [judge(search, search.arms[ARM], (d_z, 60, 2)).distance for d_z in (100, 200, 300, 400)]
    assert distances == sorted(distances)
    assert distances[0] < 0 < distances[-1]


def test_a_skip_width_that_the_projection_forbids_is_refused_by_how_far_it_is_off() -> None:
    arm = {"family": "hourglass", "w_in": "identity", "d_z": [16, 200], "d_h": [4, 8], "depth": 1, "lr": 1e-3}
    search = a_search(arm=arm)
    near, far = (judge(search, search.arms[ARM], (d_z, 4, 1)) for d_z in (60, 20))
    assert 0 < near.distance < far.distance
    assert near.message == "w_in identity needs d_z of at least d_x (got d_z=60, d_x=64)"


def test_seeds_are_the_same_in_every_process() -> None:
    assert seed_of(a_search(), ARM, 7, "ask") == 1301298058


@pytest.mark.parametrize("fraction", [0.0, 0.1, 1.0])
def test_the_share_of_random_numbers_is_the_fraction(fraction: float) -> None:
    search = a_search(random_fraction=fraction)
    share = sum(is_random(search, ARM, number) for number in range(5000)) / 5000
    assert share == pytest.approx(fraction, abs=0.02)
