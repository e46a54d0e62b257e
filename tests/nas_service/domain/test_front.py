from itertools import product
from math import log10

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from hypothesis.strategies import SearchStrategy

from nas_service.domain.front import Points, dominates, hypervolume, minimised, non_dominated
from nas_service.domain.objectives import Objective

PARAMETERS, PSNR = Objective(name="parameters_trainable", scale="log"), Objective(name="psnr_db")
EDGE = 5


def grid_points(objectives: int) -> SearchStrategy[Points]:
    """Few places for many points: ties and duplicates are common."""
    counts = st.integers(0, 12)
    return counts.flatmap(lambda n: arrays(np.float64, (n, objectives), elements=st.integers(0, EDGE).map(float)))


either_count = st.sampled_from([2, 3]).flatmap(grid_points)


def cells_covered(points: Points) -> int:
    """Unit cells below (EDGE, ...) whose lower corner some point dominates or is: the volume by counting."""
    cells = product(range(EDGE), repeat=points.shape[1])
    return sum(bool(np.any(np.all(points <= np.array(cell), axis=1))) for cell in cells)


@settings(deadline=None, max_examples=200)
@given(either_count)
def test_the_front_is_what_no_other_point_dominates(points: Points) -> None:
    expected = [not any(dominates(other, point) for other in points) for point in points]
    assert non_dominated(points).tolist() == expected


@settings(deadline=None, max_examples=200)
@given(either_count)
def test_the_hypervolume_is_the_volume_of_the_dominated_cells(points: Points) -> None:
    corner = np.full(points.shape[1], float(EDGE))
    assert hypervolume(points, corner) == pytest.approx(cells_covered(points))


@settings(deadline=None, max_examples=100)
@given(either_count, st.data())
def test_one_more_point_never_takes_volume_away(points: Points, data: st.DataObject) -> None:
    more = data.draw(arrays(np.float64, (1, points.shape[1]), elements=st.floats(-2, 7)))
    corner = np.full(points.shape[1], float(EDGE))
    before, after = hypervolume(points, corner), hypervolume(np.vstack((points, more)), corner)
    assert after >= before - 1e-9
    if not np.all(more < corner):
        assert after == pytest.approx(before)


def test_equal_points_keep_one_another() -> None:
    points = np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 2.0], [2.0, 2.0], [1.0, 3.0]])
    assert non_dominated(points).tolist() == [True, True, True, False, False]


def test_no_points_have_no_front_and_no_volume() -> None:
    assert non_dominated(np.empty((0, 2))).tolist() == []
    assert hypervolume(np.empty((0, 3)), np.ones(3)) == 0


def test_a_point_dominates_by_being_nowhere_worse_and_somewhere_better() -> None:
    a, b = np.array([1.0, 1.0]), np.array([1.0, 2.0])
    assert dominates(a, b)
    assert not dominates(b, a)
    assert not dominates(a, a)


def test_points_on_or_beyond_the_reference_add_nothing() -> None:
    points = np.array([[1.0, 1.0], [0.0, 3.0], [2.0, 0.0], [-9.0, 4.0]])
    assert hypervolume(points, np.array([2.0, 3.0])) == pytest.approx(2.0)  # (2 - 1) x (3 - 1)


def test_a_log_scale_counts_in_powers_of_ten_and_a_quality_upwards() -> None:
    points = minimised([[1000, 20.0], [100, 10.0]], (PARAMETERS, PSNR))
    assert points.tolist() == [[3.0, -20.0], [2.0, -10.0]]
    corner = minimised([[10_000, 5.0]], (PARAMETERS, PSNR))[0]
    assert hypervolume(points, corner) == pytest.approx(2 * 5 + 1 * 10)  # decades x dB


def test_hypervolume_of_a_known_three_objective_front() -> None:
    boxes = np.array([[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
    assert hypervolume(boxes, np.full(3, 2.0)) == pytest.approx(1 + 3)  # three boxes of 2, all sharing one cell


def test_a_cost_of_nothing_has_no_logarithm() -> None:
    with pytest.raises(ValueError, match="parameters_trainable must be above 0 on a log scale"):
        minimised([[0, 20.0]], (PARAMETERS, PSNR))
    assert minimised([[1, 20.0]], (PARAMETERS, PSNR))[0, 0] == log10(1)


def test_what_is_given_stays_as_it_is() -> None:
    values = np.array([[100.0, 20.0]])
    minimised(values, (PARAMETERS, PSNR))
    assert values.tolist() == [[100.0, 20.0]]
