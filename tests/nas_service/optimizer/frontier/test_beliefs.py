"""Predictions in the numbers' own units, and which trials they are made from."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, create_trial

from nas_service.optimizer.frontier import beliefs
from nas_service.optimizer.frontier.axes import Axes
from nas_service.optimizer.frontier.beliefs import (
    Belief,
    Chance,
    Fits,
    Observations,
    _schedule,
    behind_front,
    near_and_spread,
    without_tail,
)
from nas_service.optimizer.frontier.encoding import Floats


def a_belief(values: Floats, noise: Floats | float = 0.0, x: Floats | None = None, fits: Fits | None = None) -> Belief:
    x = np.linspace(0, 1, len(values))[:, None] if x is None else x
    observed = Observations(x, values, np.broadcast_to(np.asarray(noise, dtype=float), len(values)))
    return Belief(fits or Fits(), observed, gap=np.zeros(len(values)))


@given(st.floats(-1e6, 1e6), st.sampled_from([1e-3, 1.0, 1e5]))
@settings(max_examples=10, deadline=None, derandomize=True)
def test_predictions_follow_the_unit_of_the_values(origin: float, unit: float) -> None:
    values, places = np.sin(np.linspace(0, 4, 9)), np.linspace(0, 1, 5)[:, None]
    mean, deviation = a_belief(values).predict(places)
    scaled_mean, scaled_deviation = a_belief(origin + unit * values).predict(places)
    assert (scaled_mean - origin) / unit == pytest.approx(mean, abs=1e-2)
    assert scaled_deviation / unit == pytest.approx(deviation, rel=0.1, abs=1e-2)


def test_known_noise_makes_a_lucky_trial_less_convincing() -> None:
    values = np.zeros(11)
    values[5] = -3.0
    noise, at = np.where(values < 0, 4.0, 0.01), np.array([[0.5]])
    exact_mean, exact_deviation = a_belief(values, 0.0).predict(at)
    noisy_mean, noisy_deviation = a_belief(values, noise).predict(at)
    assert exact_mean[0] < -2
    assert noisy_mean[0] > -1
    assert noisy_deviation[0] > exact_deviation[0]


def test_what_is_believed_becomes_certain() -> None:
    belief, at = a_belief(np.array([0.0, 1.0, 0.5, -1.0])), np.array([[0.45]])
    mean, deviation = belief.predict(at)
    assert belief.believe(at) == pytest.approx(mean)
    again, smaller = belief.predict(at)
    assert again == pytest.approx(mean, abs=1e-3)
    assert smaller[0] < deviation[0] / 5


def test_a_chance_is_near_1_where_nothing_was_violated_and_even_far_from_everything() -> None:
    x = np.linspace(0, 0.2, 12)[:, None]
    chance = Chance(Fits(), x, np.where(x[:, 0] < 0.1, -1.0, 1.0), origin=0.0)
    near, violated, far = chance(np.array([[0.0], [0.2], [50.0]]))
    assert near > 0.9
    assert violated < 0.1
    assert far == pytest.approx(0.5, abs=0.35)


def test_fits_are_found_once_and_forgotten_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    found = list[float]()
    monkeypatch.setattr(beliefs, "fit", lambda x, y, noise: found.append(y[0]) or object())
    fits, x, noise = Fits(capacity=2), np.zeros((1, 1)), np.zeros(1)
    held = [fits.of(x, np.array([y]), noise) for y in (1.0, 2.0, 1.0, 3.0, 1.0, 2.0)]
    assert found == [1.0, 2.0, 3.0, 2.0]
    assert held[0] is held[2] is held[4]


@given(st.integers(1, 5000))
@settings(deadline=None, derandomize=True)
def test_hyperparameters_are_found_from_nearly_all_observations(count: int) -> None:
    early = _schedule(count)
    assert early <= count <= max(early * beliefs.FIT_GROWTH, early + 1)


def test_hyperparameters_are_found_anew_when_the_observations_have_grown_by_a_tenth() -> None:
    assert [_schedule(count) for count in (1, 2, 9, 19, 20, 21, 22, 100)] == [1, 2, 9, 19, 20, 20, 22, 94]


@given(st.integers(0, 400), st.integers(2, 50))
@settings(deadline=None, derandomize=True)
def test_anear_and_spread_has_the_nearest_half_and_others_without_repetition(count: int, most: int) -> None:
    gap = np.random.default_rng(count).random(count)
    kept = near_and_spread(gap, most)
    assert len(kept) == min(count, most)
    assert np.all(np.diff(kept) > 0)
    assert set(np.argsort(gap)[: most // 2]) <= set(kept.tolist())


def test_more_trials_than_predictions_use_are_predicted_from_those_near_the_front(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(beliefs, "MAX_OBSERVED", 30)
    monkeypatch.setattr(beliefs, "MAX_FITTED", 20)
    x = np.random.default_rng(0).random((200, 1))
    values = (x[:, 0] - 0.3) ** 2
    belief = Belief(Fits(), Observations(x, values, np.zeros(200)), gap=values)
    assert belief.mean(np.array([[0.3]]))[0] == pytest.approx(0, abs=0.01)


def test_how_far_points_are_behind_the_front() -> None:
    front = np.array([[0.0, 10.0], [1.0, 0.0]])
    points = np.array([[0.0, 10.0], [1.0, 10.0], [2.0, 5.0]])
    assert behind_front(points, front).tolist() == pytest.approx([0.0, 0.0, 0.5])


def test_the_tail_beyond_the_reference_is_cut_and_nothing_else() -> None:
    values = np.array([0.0, 1.0, 2.0, 4.0, 1e6])
    assert without_tail(values, reference=3.0).tolist() == [0.0, 1.0, 2.0, 4.0, 9.0]
    assert without_tail(values, reference=-5.0).tolist() == [0.0, 1.0, 2.0, 2.0, 2.0]  # the better half stays


def a_trial(standard_errors: list[float | None] | None) -> FrozenTrial:
    return create_trial(values=[1.0, 2.0], user_attrs={"standard_errors": standard_errors} if standard_errors else {})


def test_standard_errors_are_half_the_trials_own_and_half_the_mean() -> None:
    axes = Axes([StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE], {}, "linear", {})
    trials = [a_trial([None, 0.1]), a_trial([None, 0.3]), a_trial([0.0, None]), a_trial(None)]
    assert axes.noise_of(trials, 1).tolist() == pytest.approx([0.03, 0.07, 0.0, 0.0])  # mean of 0.01 and 0.09: 0.05
    assert axes.noise_of(trials[:2], 0).tolist() == [0.0, 0.0]
