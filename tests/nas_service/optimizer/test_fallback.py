"""Random legal shapes."""

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nas_service.domain.search import Search
from nas_service.optimizer.fallback import LegalShapes, _Rates, draw_legal
from nas_service.optimizer.legality import judge
from nas_service.optimizer.space import Candidate, Space

from .builders import ARM, a_search

RNG = np.random.default_rng(0)


def legal_one_by_one(search: Search) -> set[tuple[int, int, int]]:
    arm = search.arms[ARM]
    widest = arm.d_h[1] if isinstance(arm.d_h, tuple) else 80
    widths = range(*_inclusive(arm.d_z_range)), range(1, widest + 1), range(*_inclusive(arm.depth_range))
    return {
        (d_z, d_h, depth)
        for d_z, d_h, depth in product(*widths)
        if arm.d_h_range(d_z)[0] <= d_h <= arm.d_h_range(d_z)[1]
        and judge(search, arm, (d_z, d_h, depth)).message is None
    }


def _inclusive(ends: tuple[int, int]) -> tuple[int, int]:
    return ends[0], ends[1] + 1


def ranges(low: int, high: int) -> st.SearchStrategy[list[int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high)).map(sorted)


@given(
    family=st.sampled_from(["hourglass", "conventional"]),
    w_in=st.sampled_from(["learned", "fixed_sparse", "fixed_identity_padded", "identity", "none"]),
    w_out=st.sampled_from(["learned", "none"]),
    d_z=ranges(1, 80),
    d_h=st.one_of(ranges(1, 80).map(lambda ends: {"d_h": ends}), st.just({"d_h_ratio": [0.07, 1.0]})),
    depth=ranges(1, 4),
    limits=st.fixed_dictionaries(
        {}, optional={"max_parameters": st.integers(1, 50_000), "max_macs": st.integers(1, 50_000)}
    ),
)
@settings(max_examples=60, deadline=None)
def test_the_legal_shapes_are_those_found_one_by_one(limits: dict[str, int], d_h: dict[str, Any], **given: Any) -> None:
    try:
        search = a_search(arm=given | d_h | {"lr": 1e-3}, limits=limits)
    except ValidationError:  # an arm without a legal shape is no search
        return
    shapes = LegalShapes(search, search.arms[ARM], RNG)
    counted = [shapes[rank] for rank in range(shapes.count)]
    assert len(set(counted)) == len(counted)
    assert set(counted) == legal_one_by_one(search)


def test_shapes_are_drawn_uniformly() -> None:
    search = a_search(arm={"family": "hourglass", "d_z": [4, 6], "d_h": [2, 4], "depth": [1, 2], "lr": 1e-3})
    space = Space(search.arms[ARM])
    drawn = Counter(draw_legal(search, space, seed, 0, lambda candidate: True) for seed in range(3200))
    assert len(drawn) == 16
    assert all(140 < count < 260 for count in drawn.values())


def test_the_last_free_candidate_is_found_and_then_none() -> None:
    arm = {"family": "hourglass", "d_z": [4, 30], "d_h": [2, 9], "depth": [1, 2], "lr": [1e-3, 1.01e-3]}
    search = a_search(arm=arm)
    space = Space(search.arms[ARM])
    shapes = LegalShapes(search, search.arms[ARM], RNG)
    rates = [1e-3, 1.01e-3]
    every = [Candidate(*shapes[rank], lr) for rank in range(shapes.count) for lr in rates]
    last = every[77]
    assert draw_legal(search, space, 0, len(every) - 1, lambda candidate: candidate == last) == last
    assert draw_legal(search, space, 0, len(every), lambda candidate: False) is None


def test_an_enormous_box_is_drawn_from_as_well() -> None:
    arm = {"family": "hourglass", "d_z": [64, 1_000_000], "d_h": [1, 999_999], "depth": [1, 1000], "lr": 1e-3}
    search = a_search(arm=arm, limits={"max_parameters": 10_000_000})
    for seed in range(3):
        candidate = draw_legal(search, Space(search.arms[ARM]), seed, 0, lambda candidate: True)
        assert candidate is not None
        assert judge(search, search.arms[ARM], candidate[:3]).message is None


@pytest.mark.parametrize(("low", "high", "count"), [(1e-4, 3e-3, 1101), (9.98e-4, 1.02e-3, 5), (2e-4, 2e-4, 1)])
def test_learning_rates_are_counted_at_three_digits(low: float, high: float, count: int) -> None:
    arm = a_search(arm={"family": "hourglass", "d_z": 8, "d_h": 4, "depth": 1, "lr": [low, high]}).arms[ARM]
    rates = _Rates(Space(arm))
    listed = [rates[rank] for rank in range(rates.count)]
    assert (len(listed), listed[0], listed[-1]) == (count, low, high)
    assert all(rate == float(f"{rate:.3g}") for rate in listed)
