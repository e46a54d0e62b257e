import pytest
from pydantic import ValidationError

from nas_service.domain.costs import Costs
from nas_service.domain.objectives import OBJECTIVE_KINDS, Objective


def test_the_known_objectives_are_the_known_costs() -> None:
    assert {name for name in OBJECTIVE_KINDS if Objective(name=name).is_known} == set(Costs.model_fields)


def test_an_objective_is_a_known_cost_a_measured_cost_or_a_quality() -> None:
    for objective in (Objective(name=name) for name in OBJECTIVE_KINDS):
        assert [objective.is_known, objective.is_measured_cost, objective.is_quality].count(True) == 1
    assert Objective(name="latency_batch256_ms").path == "metrics.measured.latency_batch256_ms"


def test_costs_and_errors_are_minimised_and_qualities_maximised() -> None:
    maximised = {name for name in OBJECTIVE_KINDS if Objective(name=name).direction == "maximize"}
    assert maximised == {"psnr_db", "ssim", "accuracy"}


def test_every_objective_has_a_unit() -> None:
    assert Objective(name="psnr_db").unit == "dB"
    assert all(Objective(name=name).unit for name in OBJECTIVE_KINDS)


def test_an_unknown_objective_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValidationError, match="no objective is called 'psnr'; expected one of parameters_trainable"):
        Objective(name="psnr")


@pytest.mark.parametrize("fields", [{"scale": "cubic"}, {"reference": float("inf")}, {"direction": "minimize"}])
def test_an_objective_is_only_a_name_a_scale_and_a_finite_reference(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Objective.model_validate({"name": "psnr_db"} | fields)
