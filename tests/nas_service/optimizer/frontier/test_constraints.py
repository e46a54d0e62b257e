"""What the sampler keeps away from: known and measured constraints, pruned trials."""

from math import log10
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import TrialState

from nas_service.optimizer.frontier.encoding import Params

from .builders import SPACE, a_sampler, a_study, n_parameters, quality, trained, values

LINE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}


def small(params: Params) -> float:
    """At most 10,000 parameters."""
    return log10(n_parameters(params) / 1e4)


def a_line(**given: Any) -> Study:
    """One parameter, which is its own known cost; quality is told."""
    return a_study(a_sampler(costs={0: lambda params: params["x"] + 1}, reference_point=(3.0, 0.0), **given))


def add(study: Study, x: float, told: float = 1.0, state: TrialState = TrialState.COMPLETE, **given: Any) -> None:
    values = [x + 1, told] if state is TrialState.COMPLETE else None
    study.add_trial(optuna.create_trial(params={"x": x}, distributions=LINE, values=values, state=state, **given))


def asked(study: Study, times: int = 15) -> list[float]:
    return [study.ask(LINE).params["x"] for _ in range(times)]


def test_known_constraints_are_never_violated() -> None:
    study = trained(a_study(a_sampler(constraints={"small": small}, search_space=SPACE)), 25)
    assert all(small(trial.params) <= 0 for trial in study.trials)


def test_a_legal_thousandth_of_the_box_is_found() -> None:
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}
    rule = {"corner": lambda params: max(params["x"], params["y"]) - 0.03}
    study = a_study(a_sampler(costs={}, reference_point=None, constraints=rule, search_space=space))
    for _ in range(12):
        trial = study.ask(space)
        study.tell(trial, (trial.params["x"], trial.params["y"]))
    assert all(max(trial.params.values()) <= 0.03 for trial in study.trials)


def test_partly_fixed_trials_are_kept_legal_too() -> None:
    study = trained(a_study(a_sampler(constraints={"small": small}, search_space=SPACE)), 12)
    for depth in (1, 8):
        study.enqueue_trial({"depth": depth})
        trial = study.ask(SPACE)
        assert trial.params["depth"] == depth
        assert small(trial.params) <= 0


@pytest.mark.parametrize("broken", [lambda params: params["widht"], lambda params: 1 / 0])
def test_a_constraint_that_fails_is_named(broken: Any) -> None:
    study = a_study(a_sampler(constraints={"small": broken}))
    with pytest.raises(ValueError, match=r"constraints\['small'\] failed with"):
        trained(study, 3)


def test_a_trial_that_a_known_constraint_refused_is_not_learned_from() -> None:
    """Not even its cost is checked: an illegal configuration has none."""
    study = trained(a_study(a_sampler(constraints={"small": small})), 12)
    alone = study.ask(SPACE).params
    again = trained(a_study(a_sampler(constraints={"small": small})), 12)
    again.add_trial(
        optuna.create_trial(
            params={"depth": 8, "lr": 1e-3, "width": 500},
            distributions=SPACE,
            values=[-1.0, 99.0],
            system_attrs={"constraints:small": 2.3},
        )
    )
    again_params = again.ask(SPACE).params
    assert small(again_params) <= 0
    assert quality(again_params) == pytest.approx(quality(alone), abs=3)


def test_a_running_trial_without_a_cost_is_left_out() -> None:
    """One that was enqueued outside of what the cost function knows; what is wrong with it is said when it is told."""

    def cost(params: Params) -> float:
        if params["width"] > 512:
            raise ValueError("too wide")
        return n_parameters(params)

    study = trained(a_study(a_sampler(costs={0: cost}, search_space=SPACE)), 12)
    wide = {"depth": 1, "lr": 1e-3, "width": 600}
    space = SPACE | {"width": IntDistribution(8, 600, log=True)}
    study.add_trial(optuna.create_trial(params=wide, distributions=space, state=TrialState.RUNNING))
    study.ask(SPACE)


def test_a_measured_constraint_repels_by_its_probability() -> None:
    """Above 0.6 memory ran out; quality is best at 1."""
    study = a_line()
    for x in np.linspace(0, 1, 11):
        add(study, x, told=x, system_attrs={"constraints:memory": x - 0.6})
    found = asked(study)
    assert max(found) < 0.7
    assert found[0] > 0.5  # no farther away than that


def test_without_the_constraint_the_same_values_attract() -> None:
    study = a_line()
    for x in np.linspace(0, 1, 11):
        add(study, x, told=5 * x)
    assert max(asked(study)) > 0.9


def test_a_constraint_that_only_some_trials_measured_is_learned_from_these() -> None:
    study = a_line()
    for number, x in enumerate(np.linspace(0, 1, 15)):
        add(study, x, told=x, system_attrs={"constraints:memory": x - 0.5} if number % 2 else {})
    assert max(asked(study)) < 0.65


def test_a_study_in_which_everything_violated_a_constraint_goes_on() -> None:
    study = a_line()
    for x in np.linspace(0.4, 1, 9):
        add(study, x, system_attrs={"constraints:memory": x + 0.1})
    assert np.mean(asked(study, 5)) < 0.4


def test_a_violating_trial_is_not_on_the_front() -> None:
    """However good it was: a legal one beside it is still worth having."""
    study = a_line()
    for x in np.linspace(0, 1, 9):
        add(study, x, told=1 + x, system_attrs={"constraints:memory": 1.0 if x == 0 else -1.0})
    good = a_line()
    for x in np.linspace(0, 1, 9):
        add(good, x, told=1 + x)
    assert min(asked(study)) > 0.0
    assert asked(study) != asked(good)


def test_pruned_trials_repel() -> None:
    def late(state: TrialState) -> float:
        study = a_line()
        for x in np.linspace(0, 0.5, 8):
            add(study, x, told=1 + x)
        for x in np.linspace(0.6, 1, 8):
            add(study, x, state=state)
        return sum(x > 0.6 for x in asked(study)) / 15

    assert late(TrialState.PRUNED) < 0.2
    assert late(TrialState.FAIL) > late(TrialState.PRUNED) + 0.3


def test_trials_pruned_before_they_suggested_everything_are_no_trouble() -> None:
    study = trained(a_study(), 12)
    trial = study.ask()
    trial.suggest_int("depth", 1, 8)
    study.tell(trial, state=TrialState.PRUNED)
    trained(study, 2)


def test_failed_trials_are_not_repeated_and_nothing_else() -> None:
    study = trained(a_study(), 12)
    failed = study.ask(SPACE)
    study.tell(failed, state=TrialState.FAIL)
    params = study.ask(SPACE).params
    assert params != failed.params
    assert values(params) == pytest.approx(values(failed.params), rel=0.5)
