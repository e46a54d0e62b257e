import math

import pytest

from nas_service.domain.costs import Costs
from nas_service.domain.objectives import Objective
from nas_service.domain.trial import duplicate_key, objective_values, standard_errors, trial_points
from tests.builders import a_trial, an_architecture

COSTS = Costs(parameters_trainable=1, parameters_stored=2, parameters_in_memory=3, macs=4, bytes_stored=5)


@pytest.mark.parametrize(("a", "b"), [(1.234e-3, 1.2341e-3), (1e-3, 1.0004e-3), ((1e-3, 2e-3), (1e-3, 2.0001e-3))])
def test_learning_rates_are_the_same_to_three_digits(a: float, b: float) -> None:
    assert duplicate_key(an_architecture(), a) == duplicate_key(an_architecture(), b)


@pytest.mark.parametrize(("a", "b"), [(1.23e-3, 1.24e-3), (1e-3, 1e-4), ((1e-3, 2e-3), (1e-3, 3e-3))])
def test_learning_rates_differ_by_their_third_digit(a: float, b: float) -> None:
    assert duplicate_key(an_architecture(), a) != duplicate_key(an_architecture(), b)


@pytest.mark.parametrize("change", [{"d_z": 66}, {"d_h": 9}, {"depth": 3}, {"norm": "rms"}, {"w_in": "fixed_sparse"}])
def test_another_architecture_is_no_duplicate(change: dict[str, object]) -> None:
    assert duplicate_key(an_architecture(**change), 1e-3) != duplicate_key(an_architecture(), 1e-3)


def test_objective_values_are_known_costs_and_metrics_of_the_evaluation_split() -> None:
    metrics = {"eval": {"psnr_db": 20.0}, "test": {"psnr_db": 99.0, "ssim": 1.0}}
    assert objective_values(["macs", "psnr_db", "ssim"], COSTS, metrics) == [4, 20.0, None]


def test_nothing_was_measured_before_training() -> None:
    assert objective_values(["psnr_db", "bytes_stored"], COSTS, None) == [None, 5]


def test_trials_become_points_to_be_minimised() -> None:
    objectives = [Objective(name="parameters_trainable", scale="log"), Objective(name="psnr_db")]
    points = trial_points([a_trial(cost=100, psnr_db=20.0), a_trial(cost=1000, psnr_db=21.5)], objectives)
    assert points.tolist() == [[2.0, -20.0], [3.0, -21.5]]
    assert trial_points([], objectives).shape == (0, 2)


def test_an_unmeasured_objective_is_not_a_number() -> None:
    points = trial_points([a_trial(metrics={"eval": {}})], [Objective(name="macs"), Objective(name="ssim")])
    assert math.isnan(points[0, 1])


def replicate(psnr_db: float | None, lr: float = 1e-3) -> dict[str, object]:
    return {"lr": lr, "metrics": None if psnr_db is None else {"eval": {"psnr_db": psnr_db}}}


def test_the_standard_error_is_of_the_mean_over_the_replicates_of_the_best_learning_rate() -> None:
    replicates = [replicate(20.0), replicate(22.0), replicate(99.0, lr=1e-2), replicate(None)]
    assert standard_errors(["macs", "psnr_db"], 1e-3, replicates) == (None, pytest.approx(1.0))


@pytest.mark.parametrize("replicates", [[], [replicate(20.0)], [replicate(20.0), replicate(None)]])
def test_fewer_than_two_replicates_have_no_standard_error(replicates: list[dict[str, object]]) -> None:
    assert standard_errors(["psnr_db"], 1e-3, replicates) == (None,)
