"""Spaces in which some parameters depend on others; the cost functions know their own branch's parameters only."""

from collections import Counter
from math import log
from typing import Any

import optuna
import pytest
from optuna.study import Study
from optuna.trial import Trial

from nas_service.optimizer.frontier.encoding import Params

from .builders import CountingSampler, Objective, a_study, repeated

SEEDS = range(2)


def by_family(trial: Trial) -> tuple[float, float]:
    if trial.suggest_categorical("family", ["a", "b"]) == "a":
        trial.suggest_int("width", 1, 100)
    else:
        trial.suggest_float("length", 1, 50)
        trial.suggest_int("count", 1, 4)
    cost = cost_by_family(trial.params)
    return cost, log(cost) + (trial.params["family"] == "b" and cost > 30)


def cost_by_family(params: Params) -> float:
    return params["width"] if params["family"] == "a" else params["length"] * params["count"]


def by_layers(trial: Trial) -> tuple[float, float]:
    widths = [trial.suggest_int(f"width_{i}", 1, 64) for i in range(trial.suggest_int("layers", 1, 5))]
    return sum(widths), sum(map(log, widths))


def cost_by_layers(params: Params) -> float:
    return sum(params[f"width_{i}"] for i in range(params["layers"]))


def by_family_and_layers(trial: Trial) -> tuple[float, float]:
    if trial.suggest_categorical("family", ["flat", "deep"]) == "flat":
        trial.suggest_int("width", 1, 100)
    else:
        for i in range(trial.suggest_int("layers", 1, 3)):
            trial.suggest_int(f"width_{i}", 1, 64)
    cost = cost_by_family_and_layers(trial.params)
    return cost, log(cost)


def cost_by_family_and_layers(params: Params) -> float:
    return params["width"] if params["family"] == "flat" else cost_by_layers(params)


def by_size(trial: Trial) -> tuple[float, float]:
    """A number leads to the branch."""
    if trial.suggest_float("size", 1, 10) > 4:
        trial.suggest_float("momentum", 0.5, 1)
    cost = cost_by_size(trial.params)
    return cost, log(cost)


def cost_by_size(params: Params) -> float:
    return params["size"] * params["momentum"] if params["size"] > 4 else params["size"]


def by_range(trial: Trial) -> tuple[float, float]:
    """An hourglass: d_h below d_z, which is best at 20."""
    d_z = trial.suggest_int("d_z", 2, 200)
    d_h = trial.suggest_int("d_h", 1, d_z - 1)
    return d_z * d_h, log(d_z * d_h) - abs(log(d_z / 20))


def cost_by_range(params: Params) -> float:
    return params["d_z"] * params["d_h"]


def run(objective: Objective, cost: Any, seed: int, n_trials: int = 35, **given: Any) -> tuple[Study, CountingSampler]:
    sampler = CountingSampler({0: cost}, cost_scale="log", seed=seed, **given)
    study = a_study(sampler)
    study.optimize(objective, n_trials=n_trials)
    return study, sampler


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    ("objective", "cost"),
    [
        (by_family, cost_by_family),
        (by_layers, cost_by_layers),
        (by_family_and_layers, cost_by_family_and_layers),
        (by_size, cost_by_size),
        (by_range, cost_by_range),
    ],
)
def test_nothing_is_random_or_repeated_after_the_first_trials(objective: Objective, cost: Any, seed: int) -> None:
    study, sampler = run(objective, cost, seed)
    assert [number for number, _ in sampler.fallbacks if number >= 20] == []
    assert repeated(study) == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_every_number_of_layers_is_tried_and_the_best_is_found(seed: int) -> None:
    layers = Counter(trial.params["layers"] for trial in run(by_layers, cost_by_layers, seed)[0].trials)
    assert set(layers) == {1, 2, 3, 4, 5}
    assert layers.most_common(1)[0][0] == 5


@pytest.mark.parametrize("seed", SEEDS)
def test_the_better_branch_is_found(seed: int) -> None:
    families = [trial.params["family"] for trial in run(by_family, cost_by_family, seed)[0].trials]
    assert families[-15:].count("b") > 7


@pytest.mark.parametrize("seed", SEEDS)
def test_a_choice_among_many_within_one_branch_is_tried(seed: int) -> None:
    activations = ["relu", "gelu", "silu", "elu", "tanh", "none"]

    def objective(trial: Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 1, 100)
        if trial.suggest_categorical("family", ["x", "y"]) == "x":
            trial.suggest_categorical("activation", activations)
        return width, log(width)

    study, _ = run(objective, lambda params: params["width"], seed)
    assert {trial.params.get("activation") for trial in study.trials} >= set(activations)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_of_a_dozen_choices_is_tried_before_a_second_time(seed: int) -> None:
    def objective(trial: Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 1, 100)
        return width, log(width) + (trial.suggest_categorical("letter", list("abcdefghijkl")) == "l")

    letters = [trial.params["letter"] for trial in run(objective, lambda params: params["width"], seed, 30)[0].trials]
    assert sorted(letters[:12]) == list("abcdefghijkl")
    assert letters[-10:].count("l") > 5


def test_a_choice_that_is_forbidden_does_not_hold_up_the_search() -> None:
    def objective(trial: Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 1, 100)
        return width, log(width) - (trial.suggest_categorical("letter", ["a", "b", "c"]) == "b")

    rule = {"no c": lambda params: 1.0 if params["letter"] == "c" else -1.0}
    letters = [
        trial.params["letter"]
        for trial in run(objective, lambda params: params["width"], 0, 18, constraints=rule)[0].trials
    ]
    assert letters[1:].count("c") == 0
    assert letters[-8:].count("a") > 6  # it has learned well before 3 times the first random trials


@pytest.mark.parametrize("seed", SEEDS)
def test_a_range_that_depends_on_another_parameter_can_be_said_by_a_constraint(seed: int) -> None:
    narrow = {"narrow": lambda params: params["d_h"] - params["d_z"] + 1}
    study, sampler = run(by_range, cost_by_range, seed, constraints=narrow)
    assert [number for number, _ in sampler.fallbacks if number > 0] == []
    assert all(trial.params["d_h"] < trial.params["d_z"] for trial in study.trials)


def test_a_partly_fixed_trial_stays_in_its_branch() -> None:
    study, _ = run(by_family, cost_by_family, 0, 15)
    for family, fixed in (("a", {}), ("b", {"count": 2}), ("a", {"width": 31})):
        study.enqueue_trial({"family": family} | fixed)
        study.optimize(by_family, n_trials=1)
        assert {"family": family, **fixed}.items() <= study.trials[-1].params.items()


def test_a_fixed_choice_that_no_trial_has_had_is_run() -> None:
    def objective(trial: Trial) -> tuple[float, float]:
        if trial.suggest_categorical("family", ["a", "b", "c"]) == "c":
            return trial.suggest_int("depth", 1, 5), 1.0
        return by_family_of_two(trial)

    def by_family_of_two(trial: Trial) -> tuple[float, float]:
        return trial.suggest_int("width" if trial.params["family"] == "a" else "length", 1, 50), 1.0

    def cost(params: Params) -> float:
        return params[{"a": "width", "b": "length", "c": "depth"}[params["family"]]]

    sampler = CountingSampler({0: cost}, n_startup_trials=6, seed=0)
    study = a_study(sampler)
    for number in range(12):
        study.enqueue_trial({"family": "ab"[number % 2]})
    study.optimize(objective, n_trials=12)
    study.enqueue_trial({"family": "c"})
    study.optimize(objective, n_trials=5)
    assert study.trials[12].params["family"] == "c"
    assert study.trials[12].params.keys() == {"family", "depth"}


def test_a_parameter_that_later_trials_have_is_taken_in() -> None:
    def older(trial: Trial) -> tuple[float, float]:
        width = trial.suggest_int("width", 1, 100)
        return width, log(width)

    def newer(trial: Trial) -> tuple[float, float]:
        cost, quality = older(trial)
        return cost, quality - abs(trial.suggest_float("dropout", 0, 1) - 0.2)

    study, sampler = run(older, lambda params: params["width"], 0, 12)
    study.optimize(newer, n_trials=20)
    assert [number for number, _ in sampler.fallbacks if number > 12] == []
    assert abs(study.trials[-1].params["dropout"] - 0.2) < 0.25


def test_trials_without_any_parameter_do_not_matter() -> None:
    study = a_study(CountingSampler({}, seed=0))
    for _ in range(8):
        study.add_trial(optuna.create_trial(values=[1.0, 1.0]))
    study.optimize(lambda trial: (trial.suggest_float("x", 0, 1), 1.0), n_trials=10)
    assert all("x" in trial.params for trial in study.trials[8:])
