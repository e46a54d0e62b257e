import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_service.domain.front import dominates
from nas_service.domain.objectives import Objective
from nas_service.domain.stopping import FACTOR, FEWEST_PEERS, Standing, judge, rungs_of

PARAMETERS, MACS = Objective(name="parameters_trainable", scale="log"), Objective(name="macs")
PSNR, SSIM, MSE = Objective(name="psnr_db"), Objective(name="ssim"), Objective(name="mse")
SETS = [(PARAMETERS, PSNR), (MSE, MACS), (PARAMETERS, PSNR, MACS), (PARAMETERS, SSIM, MSE)]

numbers = st.integers(1, 6).map(float)  # few values: ties are common


@st.composite
def arrivals(draw: st.DrawFn) -> tuple[tuple[Objective, ...], list[float], list[list[float]]]:
    """Objectives, a trial at a rung, and those there before it."""
    objectives = draw(st.sampled_from(SETS))
    trial = st.lists(numbers, min_size=len(objectives), max_size=len(objectives))
    return objectives, draw(trial), draw(st.lists(trial, max_size=30))


def costs_no_more(other: list[float], trial: list[float], objectives: tuple[Objective, ...]) -> bool:
    return all(theirs <= mine for theirs, mine, one in zip(other, trial, objectives, strict=True) if one.is_known)


def as_minimised(values: list[float], objectives: tuple[Objective, ...]) -> np.ndarray:
    return np.array([-v if one.direction == "maximize" else v for v, one in zip(values, objectives, strict=True)])


@settings(deadline=None, max_examples=200)
@given(arrivals())
def test_a_trial_is_never_stopped_because_of_one_that_costs_more(given) -> None:
    objectives, trial, earlier = given
    affordable = [other for other in earlier if costs_no_more(other, trial, objectives)]
    assert judge(3, trial, earlier, objectives) == judge(3, trial, affordable, objectives)


@settings(deadline=None, max_examples=200)
@given(arrivals())
def test_a_trial_that_none_before_it_dominates_goes_on(given) -> None:
    objectives, trial, earlier = given
    point = as_minimised(trial, objectives)
    dominators = [other for other in earlier if dominates(as_minimised(other, objectives), point)]
    standing = judge(3, trial, earlier, objectives)
    assert standing.better == len(dominators)
    assert standing.goes_on or dominators


@settings(deadline=None, max_examples=100)
@given(arrivals(), st.randoms())
def test_the_order_of_those_before_it_does_not_matter(given, random) -> None:
    objectives, trial, earlier = given
    shuffled = random.sample(earlier, len(earlier))
    assert judge(3, trial, earlier, objectives) == judge(3, trial, shuffled, objectives)


@settings(deadline=None, max_examples=100)
@given(arrivals(), numbers)
def test_a_better_trial_of_the_same_cost_never_stands_worse(given, more: float) -> None:
    objectives, trial, earlier = given
    better = [
        value if one.is_known else value + more * (1 if one.direction == "maximize" else -1)
        for value, one in zip(trial, objectives, strict=True)
    ]
    first, then = (judge(3, values, earlier, objectives) for values in (trial, better))
    assert then.better <= first.better
    assert then.goes_on or not first.goes_on


def test_of_equal_costs_the_best_third_goes_on() -> None:
    qualities = np.random.default_rng(0).permutation(900)
    arrived = [[1000.0, float(quality)] for quality in qualities]
    went_on = [judge(3, trial, arrived[:place], (PARAMETERS, PSNR)).goes_on for place, trial in enumerate(arrived)]
    assert sum(went_on) == pytest.approx(900 / FACTOR, rel=0.1)
    assert went_on[:FEWEST_PEERS] == [True] * FEWEST_PEERS


def test_a_rising_front_goes_on_whole_whatever_comes_first() -> None:
    front = [[float(cost), float(cost)] for cost in range(1, 50)]
    for order in (front, front[::-1]):
        assert all(judge(3, trial, order[:place], (PARAMETERS, PSNR)).goes_on for place, trial in enumerate(order))


@pytest.mark.parametrize(
    ("epochs", "rungs"),
    [(1, ()), (2, ()), (3, (1,)), (8, (2,)), (9, (1, 3)), (26, (2, 8)), (30, (1, 3, 10)), (100, (3, 11, 33))],
)
def test_the_rungs_are_a_27th_a_ninth_and_a_third_of_the_epochs(epochs: int, rungs: tuple[int, ...]) -> None:
    assert rungs_of(epochs) == rungs


def test_a_standing_says_what_it_means() -> None:
    standing = Standing(epoch=3, peers=12, better=5, goes_on=False)
    assert standing.text == "after epoch 3: dominated by 5 of the 12 trials there before it that cost no more"
