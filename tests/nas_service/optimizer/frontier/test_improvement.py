"""Expected hypervolume improvement against brute force; small grids of points, so that ties are common."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import SearchStrategy

from nas_service.domain.front import Points, hypervolume, non_dominated
from nas_service.optimizer.frontier.improvement import Beliefs, boxes_beyond, expected_improvement

EDGE = 5  # the reference in every objective; points reach one beyond it
DRAWS = 2000


def fronts(objectives: int, most: int = 8) -> SearchStrategy[Points]:
    counts = st.integers(0, most)
    return counts.flatmap(lambda n: arrays(np.float64, (n, objectives), elements=st.integers(0, EDGE + 1).map(float)))


def reference(objectives: int) -> Points:
    return np.full(objectives, float(EDGE))


def gain_of(point: Points, front: Points) -> float:
    worst = reference(len(point))
    return hypervolume(np.vstack([front, point]), worst) - hypervolume(front, worst)


def gains_by_counting(points: Points, front: Points) -> Points:
    """What each point (n, m) adds to a front of whole numbers (n,), cell by cell of the whole-number grid."""
    lower = np.array(list(product([-1e9, *range(EDGE)], repeat=points.shape[1])))
    free = lower[~np.any(np.all(front[None, :, :] <= lower[:, None, :], axis=2), axis=1)]
    upper = np.where(free < 0, 0, free + 1)
    return np.asarray((upper - np.maximum(points[:, None, :], free)).clip(min=0).prod(axis=2).sum(axis=1))


def by_monte_carlo(mean: list[float], deviation: list[float], front: Points) -> tuple[float, float]:
    """The expected gain of one candidate and its standard error."""
    draws = np.random.default_rng(0).standard_normal((DRAWS, len(mean)))
    gains = gains_by_counting(mean + deviation * draws, front)
    return float(gains.mean()), float(gains.std() / np.sqrt(DRAWS))


def one(mean: list[float], deviation: list[float], front: Points) -> float:
    beliefs = Beliefs(np.array([mean]), np.array([deviation]))
    return float(expected_improvement(beliefs, front, reference(len(mean)))[0])


candidates = st.sampled_from([2, 3]).flatmap(
    lambda m: st.tuples(
        fronts(m),
        st.lists(st.floats(-1, EDGE + 2), min_size=m, max_size=m),
        st.lists(st.sampled_from([0.0, 0.3, 1.5]), min_size=m, max_size=m),
    )
)


@given(candidates)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_the_closed_form_is_the_mean_gain_of_random_draws(candidate: tuple[Points, list[float], list[float]]) -> None:
    front, mean, deviation = candidate
    expected, error = by_monte_carlo(mean, deviation, front)
    assert one(mean, deviation, front) == pytest.approx(expected, abs=5 * error + 0.01)


@given(
    st.sampled_from([1, 2, 3]).flatmap(
        lambda m: st.tuples(fronts(m), arrays(np.float64, m, elements=st.floats(-1, EDGE + 2)))
    )
)
@settings(deadline=None, derandomize=True)
def test_where_everything_is_known_it_is_the_gain_itself(known: tuple[Points, Points]) -> None:
    front, point = known
    assert one(point.tolist(), [0.0] * len(point), front) == pytest.approx(gain_of(point, front), abs=1e-9)
    assert gains_by_counting(point[None, :], front)[0] == pytest.approx(gain_of(point, front), abs=1e-6)


@given(st.sampled_from([1, 2, 3]).flatmap(lambda m: fronts(m, most=12)))
@settings(deadline=None, derandomize=True)
def test_the_boxes_are_disjoint_and_cover_what_the_front_leaves(points: Points) -> None:
    worst = reference(points.shape[1])
    inside = points[np.all(points < worst, axis=1)]
    front = np.unique(inside[non_dominated(inside)], axis=0)
    lower, upper = boxes_beyond(front, worst)
    for cell in product(range(-1, EDGE), repeat=len(worst)):
        middle = np.array(cell) + 0.5
        is_dominated = np.any(np.all(front <= middle, axis=1))
        assert np.sum(np.all((lower <= middle) & (middle < upper), axis=1)) == (0 if is_dominated else 1)


def test_two_objectives_need_one_box_more_than_the_front_has_points() -> None:
    front = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    lower, _ = boxes_beyond(front, reference(2))
    assert len(lower) == 4


def test_with_one_known_cost_it_is_the_integral_of_expected_improvement_over_the_staircase() -> None:
    front, cost, mean, deviation = np.array([[1.0, 4.0], [3.0, 2.0]]), 2.0, 3.0, 0.7
    draws = mean + deviation * np.random.default_rng(0).standard_normal(400_000)
    steps = [(1.0, 4.0), (2.0, 2.0)]  # from cost 2 to 3 the front stands at 4, from there to the reference at 2
    integral = sum(length * np.maximum(0, height - draws).mean() for length, height in steps)
    assert one([cost, mean], [0.0, deviation], front) == pytest.approx(integral, rel=0.01)


def test_a_candidate_that_costs_more_than_counts_gains_nothing() -> None:
    assert one([EDGE, 0.0], [0.0, 3.0], np.zeros((0, 2))) == 0


def test_points_beyond_the_reference_do_not_matter() -> None:
    front = np.array([[1.0, 3.0, 2.0]])
    beyond = np.array([[0.0, 0.0, EDGE], [EDGE + 3.0, 0.0, 0.0]])
    belief = ([2.0, 2.0, 2.0], [0.0, 0.5, 0.5])
    assert one(*belief, np.vstack([front, beyond])) == one(*belief, front)


@pytest.mark.parametrize("objectives", [2, 3, 4])
def test_no_candidates_have_no_gains(objectives: int) -> None:
    nothing = np.zeros((0, objectives))
    assert len(expected_improvement(Beliefs(nothing, nothing), nothing, reference(objectives))) == 0


def test_many_candidates_at_once_gain_what_each_gains_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    front = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    rng = np.random.default_rng(0)
    mean, deviation = rng.uniform(0, EDGE, (20, 2)), np.array([0.0, 1.0]) * rng.uniform(0.1, 1, (20, 2))
    alone = [one(*belief, front) for belief in zip(mean.tolist(), deviation.tolist(), strict=True)]
    monkeypatch.setattr("nas_service.optimizer.frontier.improvement.ROWS_AT_ONCE", 30)
    assert expected_improvement(Beliefs(mean, deviation), front, reference(2)) == pytest.approx(alone)


@given(fronts(4), st.lists(st.floats(0, EDGE - 0.5), min_size=4, max_size=4))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_four_objectives_are_sampled_to_a_few_percent(front: Points, mean: list[float]) -> None:
    deviation = [0.0, 0.0, 0.5, 1.0]
    expected, error = by_monte_carlo(mean, deviation, front)
    whole = float(np.prod(reference(4) - mean))
    assert one(mean, deviation, front) == pytest.approx(expected, abs=0.05 * whole + 5 * error)


def test_four_objectives_are_sampled_the_same_every_time() -> None:
    front = np.array([[1.0, 2.0, 3.0, 4.0]])
    belief = ([2.0, 2.0, 2.0, 2.0], [0.0, 0.0, 0.5, 0.5])
    assert one(*belief, front) == one(*belief, front)
