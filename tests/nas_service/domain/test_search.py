from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from nas_service.domain.costs import known_costs
from nas_service.domain.faults import Fault, faults_of
from nas_service.domain.objectives import Objective
from nas_service.domain.search import Limits, Search, train_flops_per_epoch
from tests.builders import ARMS, a_search, a_search_file, an_architecture

# The example of the documentation, word by word but for the sampler.
EXAMPLE = """
name: mnist-denoising
seed: 0
dataset: {name: mnist}
task: {kind: denoising, noise_std: 0.25}
recipe: {epochs: 30, batch_size: 128, optimizer: adamw, weight_decay: 0.01, schedule: linear, augment: 1,
         precision: auto, replicates: 1}
arms:
  hourglass:          {family: hourglass, w_in: learned, w_out: learned, d_z: [785, 2120], d_h: [4, 480],
                       depth: [1, 20], lr: [1.0e-4, 3.0e-3]}
  hourglass-fixed:    {family: hourglass, w_in: fixed_identity_padded, w_out: learned, d_z: [1000, 4096],
                       d_h: [16, 480], depth: [1, 10], lr: [1.0e-4, 3.0e-3]}
  conventional:       {family: conventional, w_in: learned, w_out: learned, d_z: 784, d_h: [785, 4150],
                       depth: [1, 6], lr: [1.0e-4, 3.0e-3]}
  conventional-plain: {family: conventional, w_in: none, w_out: none, d_z: 784, d_h: [785, 4150], depth: [1, 6],
                       lr: [1.0e-4, 3.0e-3]}
objectives:
  - {name: parameters_trainable, scale: log}
  - {name: psnr_db}
limits: {max_parameters: 5_000_000}
budget: {trials_per_arm: 40}
sampler: tpe
random_fraction: 0.1
stopping: none
allocation: equal
lr_transfer: none
keep_networks: front
priority: 0
"""
HOURGLASS = ARMS["hourglass"]


def faults(**changes: Any) -> dict[str, Fault]:
    """The faults of a file with these changes, by field."""
    with pytest.raises(ValidationError) as caught:
        a_search(**changes)
    found = faults_of(caught.value)
    assert len({fault.field for fault in found}) == len(found), "one row a field"
    return {fault.field: fault for fault in found}


def test_the_example_of_the_documentation_parses() -> None:
    search = Search.model_validate(yaml.safe_load(EXAMPLE))
    assert list(search.arms) == ["hourglass", "hourglass-fixed", "conventional", "conventional-plain"]
    assert search.limits.max_parameters == 5_000_000
    assert search.arms["conventional"].d_z_range == (784, 784)
    assert search.quality.name == "psnr_db"


def test_a_search_is_the_same_after_a_walk_through_json() -> None:
    search = Search.model_validate(yaml.safe_load(EXAMPLE))
    assert Search.model_validate_json(search.model_dump_json()) == search


def test_numbers_that_yaml_takes_for_words_are_numbers() -> None:
    arm = yaml.safe_load("{family: hourglass, d_z: [65, 128], d_h_ratio: [1e-1, 5e-1], depth: 1, lr: [1e-3, 1e-2]}")
    assert arm["lr"] == ["1e-3", "1e-2"]
    search = a_search(arms={"a": arm}, recipe={"epochs": 2, "weight_decay": "1e-2"})
    assert search.arms["a"].lr_range == (0.001, 0.01)
    assert search.arms["a"].d_h_range(100) == (10, 50)
    assert search.recipe.weight_decay == 0.01


def test_all_faulty_fields_are_named_together_with_value_and_expectation() -> None:
    found = faults(
        name="",
        seed=-1,
        sampler="oracle",
        colour="red",
        task={"kind": "denoising", "noise_std": 0},
        dataset={"path": "photos", "image_shape": [1, 8, 8]},
        arms={"a": HOURGLASS | {"d_z": [0, 128], "lr": "fast"}, "b": HOURGLASS | {"depth": [4, 1]}},
        objectives=[{"name": "psnr"}, {"name": "psnr_db"}],
    )
    fields = ["arms.a.d_z", "arms.a.lr", "arms.b", "colour", "dataset.path", "name", "objectives.0.name"]
    assert sorted(found) == [*fields, "sampler", "seed", "task.noise_std"]
    assert found["arms.a.d_z"].value == [0, 128]
    assert found["arms.a.d_z"].message == "must be a whole number from 1 to 1,000,000, or [low, high] of such"
    assert (found["seed"].value, found["seed"].message) == (-1, "Input should be greater than or equal to 0")
    assert "depth must be [low, high] with low <= high (got [4, 1])" in found["arms.b"].message


def test_a_missing_field_is_named_without_a_value() -> None:
    file = a_search_file()
    del file["budget"]
    with pytest.raises(ValidationError) as caught:
        Search.model_validate(file)
    assert faults_of(caught.value) == [Fault(field="budget", value=None, message="Field required")]


def test_every_arm_that_is_illegal_for_the_task_is_named() -> None:
    found = faults(arms={"a": HOURGLASS | {"w_in": "none"}, "b": HOURGLASS, "c": HOURGLASS | {"d_h": 500}})
    assert set(found) == {"arms.a", "arms.c"}
    assert "w_in none needs d_z equal to d_x (got d_z=128, d_x=64)" in found["arms.a"].message
    assert found["arms.c"].value["d_h"] == 500


def test_parts_that_disagree_are_named_beside_faulty_ones() -> None:
    arms = {"faulty": HOURGLASS | {"d_z": 0}, "illegal": HOURGLASS | {"w_in": "none"}, "sound": HOURGLASS}
    objectives = [{"name": "macs"}, {"name": "accuracy"}]
    found = faults(name="", seed=-1, budget={}, arms=arms, objectives=objectives)
    assert set(found) == {"name", "seed", "budget", "arms.faulty.d_z", "arms.illegal", "objectives.1.name"}


@pytest.mark.parametrize(
    "given", [None, "a search", [], {"arms": []}, {"arms": {"a": None}}, {"task": 3, "arms": {1: 2}}]
)
def test_what_is_no_search_at_all_is_refused(given: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Search.model_validate(given)
    assert all(fault.message for fault in faults_of(caught.value))


def test_limits_below_the_smallest_network_are_refused() -> None:
    smallest = known_costs(an_architecture(d_z=65, d_h=4, depth=1), a_search().shape).parameters_trainable
    a_search(limits={"max_parameters": smallest})
    found = faults(limits={"max_parameters": smallest - 1})
    assert "its smallest network has 8,840 parameters" in found["arms.hourglass"].message
    assert "over the limits (max_parameters 8,839)" in found["arms.hourglass"].message


@pytest.mark.parametrize(
    ("objectives", "field", "message"),
    [
        (["psnr_db"], "objectives", "at least 2 items"),
        (["psnr_db", "ssim", "mse", "macs"], "objectives", "at most 3 items"),
        (["psnr_db", "psnr_db"], "objectives", "may stand there once"),
        (["macs", "bytes_stored"], "objectives", "at least one objective must be a quality"),
        (["macs", "accuracy"], "objectives.1.name", "measured by generative_classification only"),
    ],
)
def test_objectives_that_do_not_suit_are_refused(objectives: list[str], field: str, message: str) -> None:
    assert message in faults(objectives=[{"name": name} for name in objectives])[field].message


def test_a_reference_on_a_log_scale_is_above_zero() -> None:
    found = faults(objectives=[{"name": "macs", "scale": "log", "reference": 0}, {"name": "psnr_db"}])
    assert found["objectives.0.reference"].message == "a reference on a log scale must be above 0"


def test_accuracy_belongs_to_generative_classification() -> None:
    search = a_search(task={"kind": "generative_classification"}, objectives=[{"name": "macs"}, {"name": "accuracy"}])
    assert search.directions == ["minimize", "maximize"]


@pytest.mark.parametrize("name", ["", "   ", "a\nb", "a\0b", "\x1b[31mred", "n" * 201])
def test_a_name_is_one_line_that_can_be_read(name: str) -> None:
    assert set(faults(name=name)) == {"name"}
    assert a_search(name="Größe 名前 🚀 [/b]").name == "Größe 名前 🚀 [/b]"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"budget": {"epochs_per_arm": 10**400}}, "budget.epochs_per_arm"),
        ({"limits": {"max_parameters": 10**400}}, "limits.max_parameters"),
        ({"dataset": {"path": "npz:x", "image_shape": [1, 8, 8], "train_images": 10**400}}, "dataset.train_images"),
        ({"seed": 2**31 - 1}, "seed"),
    ],
)
def test_numbers_too_large_to_compute_with_are_refused(changes: dict[str, Any], field: str) -> None:
    assert set(faults(**changes)) == {field}


@pytest.mark.parametrize("budget", [{}, {"trials_per_arm": 3, "epochs_per_arm": 9}])
def test_a_budget_is_exactly_one_of_three(budget: dict[str, Any]) -> None:
    expected = "exactly one of trials_per_arm, epochs_per_arm, train_flops_per_arm"
    assert expected in faults(budget=budget)["budget"].message


def test_a_budget_in_flops_needs_the_number_of_images() -> None:
    path = {"path": "folder:x", "image_shape": [1, 8, 8]}
    assert (
        "train_images"
        in faults(dataset=path, budget={"train_flops_per_arm": 1e12})["budget.train_flops_per_arm"].message
    )
    a_search(dataset=path | {"train_images": 10}, budget={"train_flops_per_arm": 1e12})


def test_a_factor_that_does_not_divide_is_a_fault_of_the_task() -> None:
    found = faults(task={"kind": "super_resolution", "factor": 3})
    assert found["task.factor"].value == 3


def test_a_trial_spends_one_trial_or_its_epochs_or_its_flops() -> None:
    recipe = {"epochs": 5, "replicates": 3, "augment": 2}
    rates = {"hourglass": HOURGLASS | {"lr": [1e-3, 2e-3, 3e-3, 4e-3]}}
    costs = known_costs(an_architecture(), a_search().shape)
    spent = []
    for budget in ("trials_per_arm", "epochs_per_arm", "train_flops_per_arm"):
        search = a_search(recipe=recipe, arms=rates, budget={budget: 1000})
        spent.append(search.planned_spending("hourglass", costs))
    epochs = 5 * 3 * 4
    assert spent == [1, epochs, epochs * 6 * costs.macs * 1078 * 2]
    assert train_flops_per_epoch(search, costs) == spent[2] / epochs


def test_the_reference_of_a_cost_is_its_own_else_the_limit_else_the_largest_legal_cost() -> None:
    plain, own = Objective(name="parameters_trainable"), Objective(name="parameters_trainable", reference=7)
    largest = [64 * 128 * 2 + 2 * 4 * 128 * 32, 2 * 4 * 64 * 256]
    assert a_search(arms=ARMS).known_reference(plain) == max(largest)
    assert a_search(arms=ARMS, limits={"max_parameters": 40_000}).known_reference(plain) == 40_000
    assert a_search(arms=ARMS, limits={"max_parameters": 40_000}).known_reference(own) == 7
    assert a_search(arms=ARMS, limits={"max_macs": 40_000}).known_reference(plain) == max(largest)


def test_the_reference_of_a_quality_waits_for_the_trivial_answer_unless_given() -> None:
    assert a_search().known_reference(Objective(name="psnr_db")) is None
    assert a_search().known_reference(Objective(name="psnr_db", reference=11.5)) == 11.5


def test_limits_say_by_how_much_a_network_exceeds_them() -> None:
    costs = known_costs(an_architecture(), a_search().shape)
    half = costs.macs // 2
    assert Limits().excess(costs) == 0
    assert Limits(max_parameters=costs.parameters_trainable).excess(costs) == 0
    assert Limits(max_macs=half, max_parameters=10**9).excess(costs) == pytest.approx(1)


def test_search_seed_zero_trains_with_the_published_seeds() -> None:
    assert (a_search().trial_seed, a_search(seed=2).trial_seed) == (42, 2042)


def test_halving_judges_at_the_rungs_of_the_recipe_and_none_nowhere() -> None:
    assert a_search(stopping="halving", recipe={"epochs": 30}).rungs == (1, 3, 10)
    assert a_search(recipe={"epochs": 30}).rungs == ()


def test_the_transfer_rule_needs_its_branch_scale_in_every_arm_and_says_so_once() -> None:
    scaled = HOURGLASS | {"branch_scale": "1/sqrt(depth)"}
    assert a_search(lr_transfer="width_depth", arms={"a": scaled}).lr_transfer == "width_depth"
    found = faults(lr_transfer="width_depth", arms={"a": HOURGLASS, "b": scaled, "c": HOURGLASS})
    assert list(found) == ["lr_transfer"]
    assert found["lr_transfer"].message == (
        "lr_transfer width_depth needs branch_scale 1/sqrt(depth) (got 1), in every arm: change a and c"
    )


def test_halving_is_refused_where_nothing_can_be_judged_before_the_end() -> None:
    latency = {"name": "latency_ms", "reference": 5}
    found = faults(
        stopping="halving",
        device="cpu",
        objectives=[latency, {"name": "psnr_db"}],
        arms={"a": HOURGLASS | {"lr": [1e-4, 1e-3, 1e-2]}},
    )
    assert found["stopping"].message == (
        "halving cannot judge before the end: latency_ms is measured after training; the listed learning rates of a "
        "train one after the other, give a range; 2 epochs are too few, give 3 or more"
    )
