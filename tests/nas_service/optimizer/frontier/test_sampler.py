"""What the sampler proposes in ordinary studies."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial, TrialState

from nas_service.domain.front import hypervolume
from nas_service.optimizer.frontier import FrontierSampler
from nas_service.optimizer.frontier.encoding import Encoding

from .builders import (
    REFERENCE,
    SPACE,
    CountingSampler,
    a_copy,
    a_sampler,
    a_study,
    completed,
    n_parameters,
    quality,
    repeated,
    trained,
    values,
)

TINY = {"a": IntDistribution(1, 6), "b": IntDistribution(1, 5)}


def volume(study: optuna.Study) -> float:
    points = np.array([trial.values for trial in completed(study)])
    return hypervolume(np.column_stack([np.log10(points[:, 0]), -points[:, 1]]), np.array([7.0, -REFERENCE[1]]))


def suggest(trial: Trial) -> tuple[float, float]:
    """An objective as users write them."""
    trial.suggest_int("depth", 1, 8)
    trial.suggest_float("lr", 1e-4, 1e-2, log=True)
    trial.suggest_int("width", 8, 512, log=True)
    return values(trial.params)


def test_the_example_of_the_docstring_runs() -> None:
    lines = [line.strip() for line in (FrontierSampler.__doc__ or "").splitlines()]
    example = [line for line in lines if line.startswith(("sampler = ", "study = "))]
    names = {"FrontierSampler": FrontierSampler, "optuna": optuna, "n_parameters": n_parameters}
    exec("\n".join(example), names)
    study = names["study"]
    assert isinstance(study, optuna.Study)
    study.optimize(suggest, n_trials=12)
    assert len(completed(study)) == 12


def test_it_finds_more_of_the_front_than_random_trials() -> None:
    guided = volume(trained(a_study(), 30))
    assert all(guided > volume(trained(a_study(a_sampler(n_startup_trials=99, seed=seed)), 60)) for seed in range(3))


def test_after_the_first_trial_every_parameter_is_proposed() -> None:
    sampler = CountingSampler({0: n_parameters}, reference_point=REFERENCE, cost_scale="log", seed=0)
    a_study(sampler).optimize(suggest, n_trials=15)
    assert sampler.fallbacks == [(0, "depth"), (0, "lr"), (0, "width")]


def test_a_given_space_needs_no_random_parameter_at_all() -> None:
    sampler = CountingSampler({0: n_parameters}, search_space=SPACE, seed=0)
    a_study(sampler).optimize(suggest, n_trials=3)
    assert sampler.fallbacks == []


def test_both_directions_find_the_same() -> None:
    """An objective with its sign and direction changed is the same objective."""

    def mirrored() -> optuna.Study:
        sampler = a_sampler(costs={0: lambda params: -n_parameters(params)}, reference_point=(-1e7, -10.0), **linear)
        study = a_study(sampler, directions=("maximize", "minimize"))
        for _ in range(15):
            trial = study.ask(SPACE)
            study.tell(trial, tuple(-value for value in values(trial.params)))
        return study

    linear = {"cost_scale": "linear"}
    study = trained(a_study(a_sampler(**linear)), 15)
    assert [trial.params for trial in mirrored().trials] == [trial.params for trial in study.trials]


def test_the_order_of_the_objectives_does_not_matter() -> None:
    swapped = a_study(a_sampler(costs={1: n_parameters}, reference_point=REFERENCE[::-1]), ("maximize", "minimize"))
    for _ in range(15):
        trial = swapped.ask(SPACE)
        swapped.tell(trial, values(trial.params)[::-1])
    assert volume(trained(a_study(), 15)) == pytest.approx(
        hypervolume(
            np.array([[np.log10(trial.values[1]), -trial.values[0]] for trial in swapped.trials]),
            np.array([7.0, -REFERENCE[1]]),
        ),
        rel=0.1,
    )


@pytest.mark.parametrize("finished", [0, 4, 14])
def test_32_asks_in_a_row_are_different(finished: int) -> None:
    study = trained(a_study(), finished)
    asked = [study.ask(SPACE).params for _ in range(32)]
    assert len({frozenset(params.items()) for params in asked}) == 32


def test_asks_in_a_row_before_there_is_anything_to_learn_from_are_spread_out_as_random_ones_are() -> None:
    study, random = a_study(), Encoding(SPACE).random(32, np.random.default_rng(0))
    asked = [study.ask(SPACE).params for _ in range(32)]
    assert spread(Encoding(SPACE).rows(asked)) > 0.7 * spread(random)


def test_asks_in_a_row_are_spread_out_over_the_costs_when_the_best_of_everything_else_is_known() -> None:
    study = trained(a_study(), 14)
    asked = [[np.log10(n_parameters(study.ask(SPACE).params))] for _ in range(32)]
    random = np.random.default_rng(0).uniform(np.min(asked), np.max(asked), (32, 1))
    assert np.ptp(asked) > 3  # orders of magnitude
    assert spread(np.array(asked)) > 0.7 * spread(random)


def spread(rows: np.ndarray) -> float:
    """The mean distance to the nearest neighbour."""
    distances = np.linalg.norm(rows[:, None] - rows[None, :], axis=2)
    np.fill_diagonal(distances, np.inf)
    return float(distances.min(axis=1).mean())


@pytest.mark.parametrize("finished", [3, 14])
def test_a_fresh_sampler_on_a_copy_proposes_the_same(finished: int) -> None:
    study = trained(a_study(), finished)
    study.ask(SPACE)
    copied = a_copy(study, a_sampler())
    assert [copied.ask(SPACE).params for _ in range(3)] == [study.ask(SPACE).params for _ in range(3)]


def test_another_seed_proposes_something_else() -> None:
    study = trained(a_study(), 14)
    assert study.ask(SPACE).params != a_copy(study, a_sampler(seed=1)).ask(SPACE).params


def test_without_a_seed_two_samplers_differ() -> None:
    first = [a_study(a_sampler(seed=None)).ask(SPACE).params for _ in range(2)]
    assert first[0] != first[1]


@pytest.mark.parametrize("end", [TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED, TrialState.RUNNING])
def test_a_tiny_space_is_gone_through_without_a_repetition(end: TrialState) -> None:
    study = a_study(a_sampler(costs={0: lambda params: params["a"] * params["b"]}, reference_point=None))
    for number in range(30):
        trial = study.ask(TINY)
        if number < 10 or end is TrialState.COMPLETE:
            study.tell(trial, (trial.params["a"] * trial.params["b"], trial.params["a"] + 2 * trial.params["b"]))
        elif end is not TrialState.RUNNING:
            study.tell(trial, state=end)
    assert repeated(study) == 0


def test_the_last_of_a_thousand_values_is_found_on_a_log_axis() -> None:
    study = a_study(a_sampler(costs={0: lambda params: params["width"]}, reference_point=None))
    space = {"width": IntDistribution(1, 1000, log=True)}
    for width in range(1, 1000):
        params = {"width": width}
        study.add_trial(optuna.create_trial(params=params, distributions=space, values=[width, np.log(width)]))
    assert study.ask(space).params == {"width": 1000}


def test_a_space_without_anything_new_left_repeats() -> None:
    study = a_study(a_sampler(costs={0: lambda params: params["a"]}, reference_point=None))
    for _ in range(9):
        trial = study.ask({"a": IntDistribution(1, 7)})
        study.tell(trial, (trial.params["a"], 1.0))
    assert repeated(study) == 2


def test_a_step_written_in_another_way_is_a_repetition() -> None:
    space = {"dropout": FloatDistribution(0.1, 0.3, step=0.1)}
    study = a_study(a_sampler(costs={0: lambda params: params["dropout"]}, reference_point=None))
    for dropout in (0.1, 0.3):  # the sampler's own would be 0.1 + 2 * 0.1
        study.add_trial(optuna.create_trial(params={"dropout": dropout}, distributions=space, values=[dropout, 1.0]))
    assert study.ask(space).params["dropout"] == pytest.approx(0.2)


def test_choices_of_any_kind_are_tried_once() -> None:
    space = {"choice": CategoricalDistribution([None, True, 2, 2.5, "a"])}
    study = a_study(a_sampler(costs={}, reference_point=None))
    for number in range(5):
        study.tell(study.ask(space), (1.0 + number, 1.0))
    assert repeated(study) == 0


def test_what_was_enqueued_whole_is_run() -> None:
    study = trained(a_study(), 12)
    params = {"depth": 2, "lr": 1e-3, "width": 77}
    study.enqueue_trial(params)
    assert study.ask(SPACE).params == params


@pytest.mark.parametrize("depth", [2, 4])
def test_what_was_enqueued_in_part_is_kept_and_the_rest_chosen_to_fit(depth: int) -> None:
    study = trained(a_study(a_sampler(reference_point=(1e5, 10.0))), 14)
    study.enqueue_trial({"depth": depth})
    params = study.ask(SPACE).params
    assert params["depth"] == depth
    assert n_parameters(params) < 1e5
    assert abs(np.log10(params["lr"]) + 3) < 0.3  # the best is 1e-3


def test_an_enqueued_value_outside_of_the_range_is_kept_and_told() -> None:
    study = trained(a_study(), 12)
    study.enqueue_trial({"width": 4000})
    with pytest.warns(UserWarning, match="out of range"):
        trial = study.ask(SPACE)
    assert trial.params["width"] == 4000
    study.tell(trial, values(trial.params))
    trained(study, 2)


def test_a_running_trial_that_has_suggested_nothing_yet_is_not_proposed_again() -> None:
    """As in another thread: asked, and about to suggest its parameters one by one."""
    study = a_study(a_sampler(costs={0: lambda params: params["a"] * params["b"]}, reference_point=None))
    for _ in range(10):
        trial = study.ask(TINY)
        study.tell(trial, (trial.params["a"] * trial.params["b"], 1.0))
    asked = [study.ask() for _ in range(20)]
    for trial in asked:
        trial.suggest_int("a", 1, 6)
    for trial in asked:
        trial.suggest_int("b", 1, 5)
    assert repeated(study) == 0


def test_two_threads_share_a_study() -> None:
    study = a_study()
    study.optimize(suggest, n_trials=20, n_jobs=2)
    assert len(completed(study)) == 20
    assert repeated(study) == 0


def test_another_process_goes_on_with_a_stored_study(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path / 'study.db'}"
    trained(a_study(storage=storage, study_name="shared"), 11)
    program = f"""
import optuna
from tests.nas_service.optimizer.frontier.builders import SPACE, a_sampler, trained
study = optuna.load_study(study_name="shared", storage="{storage}", sampler=a_sampler())
trained(study, 1)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
    loaded = optuna.load_study(study_name="shared", storage=storage, sampler=a_sampler())
    alone = trained(a_study(), 13)
    trained(loaded, 1)
    assert [trial.params for trial in loaded.trials] == [trial.params for trial in alone.trials]


def test_quality_is_learned() -> None:
    study = trained(a_study(), 25)
    late = [trial.params for trial in study.trials[15:]]
    assert np.median([abs(np.log10(params["lr"]) + 3) for params in late]) < 0.25
    assert quality(late[-1]) > 0
