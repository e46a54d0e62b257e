"""Searches whose objectives are costs of time and memory: what they need, what counts as their worst value."""

from typing import Any

import pytest
from pydantic import ValidationError

from nas_service.domain.devices import names_of
from nas_service.domain.faults import Fault, faults_of
from nas_service.domain.objectives import MEASURED_COSTS, Objective
from nas_service.domain.search import Search
from nas_service.domain.trial import objective_values
from tests.builders import ARMS, a_search, a_search_file, a_trial, an_architecture

LATENCY = {"name": "latency_ms", "scale": "log", "reference": 50}
PSNR = {"name": "psnr_db"}


def faults(**changes: Any) -> dict[str, Fault]:
    with pytest.raises(ValidationError) as caught:
        Search.model_validate(a_search_file(**changes))
    return {fault.field: fault for fault in faults_of(caught.value)}


@pytest.mark.parametrize("name", MEASURED_COSTS)
def test_a_measured_cost_needs_a_device_and_a_worst_value(name: str) -> None:
    found = faults(objectives=[{"name": name}, PSNR])
    assert set(found) == {"device", "objectives.0.reference"}
    assert f"a search that uses {name} names one kind of device, for example device: cpu" in found["device"].message
    assert f"{name} has no worst value by itself" in found["objectives.0.reference"].message
    search = a_search(objectives=[{"name": name, "reference": 1e9}, PSNR], device="cpu")
    assert search.measured_costs == (name,)


def test_the_worst_value_of_a_measured_cost_is_the_search_files() -> None:
    search = a_search(objectives=[LATENCY, PSNR], device="cpu")
    assert search.known_reference(search.objectives[0]) == 50


def test_a_search_may_name_a_device_without_measuring_costs() -> None:
    assert a_search(device="NVIDIA H200").measured_costs == ()


@pytest.mark.parametrize("names", [["latency_ms", "train_seconds"], ["macs", "train_flops"], ["macs", "latency_ms"]])
def test_costs_alone_are_no_search(names: list[str]) -> None:
    found = faults(objectives=[{"name": name, "reference": 1} for name in names], device="cpu")
    assert found["objectives"].message == "at least one objective must be a quality: psnr_db, ssim, mse, accuracy"


def test_the_quality_is_never_a_measured_cost() -> None:
    assert a_search(objectives=[LATENCY, PSNR], device="cpu").quality.name == "psnr_db"


def test_the_flops_of_a_training_follow_from_the_multiply_adds_and_the_recipe() -> None:
    search = a_search(recipe={"epochs": 5, "augment": 2, "replicates": 3})
    costs = search.costs_of(an_architecture())
    # 2 operations a multiply-add, forward once and backward twice; 1078 images, each seen twice in 5 epochs
    assert costs.train_flops == 6 * costs.macs * 1078 * 2 * 5
    budget = a_search(recipe={"epochs": 5, "augment": 2}, budget={"train_flops_per_arm": 1e15})
    assert budget.planned_spending("hourglass", costs) == costs.train_flops


def test_the_worst_flops_are_those_of_the_largest_legal_network() -> None:
    search = a_search(arms=ARMS)
    largest = max((search.costs_of(arm.largest(search.shape)) for arm in search.arms.values()), key=lambda c: c.macs)
    assert search.known_reference(Objective(name="train_flops")) == largest.train_flops


def test_flops_need_the_number_of_images() -> None:
    path = {"path": "folder:x", "image_shape": [1, 8, 8]}
    objectives = [{"name": "train_flops"}, PSNR]
    assert "dataset.train_images" in faults(dataset=path, objectives=objectives)["objectives.0.name"].message
    assert a_search(dataset=path).costs_of(an_architecture()).train_flops is None
    a_search(dataset=path | {"train_images": 10}, objectives=objectives)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 2, 0]])
def test_values_come_from_where_a_trial_keeps_them(order: list[int]) -> None:
    names = ["train_flops", "latency_ms", "psnr_db"]
    trial = a_trial(cost=7, metrics={"eval": {"psnr_db": 20.0}, "measured": {"latency_ms": 1.5}})
    values = objective_values([names[place] for place in order], trial.costs, trial.metrics)
    assert values == [[7, 1.5, 20.0][place] for place in order]


@pytest.mark.parametrize(
    ("device", "kind"),
    [("cpu", "cpu"), ("cpu (x86_64)", "cpu"), ("mps (arm64)", "mps"), ("NVIDIA H200", "cuda"), ("Tesla (x)", "cuda")],
)
def test_a_device_goes_by_its_name_and_its_kind(device: str, kind: str) -> None:
    assert names_of(device) == (device, kind)
