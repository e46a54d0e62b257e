"""Which objectives are known, where the reference lies, and what is said when something does not fit."""

from math import inf, log10, nan
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import FloatDistribution
from optuna.study import StudyDirection

from nas_service.domain.front import hypervolume
from nas_service.optimizer.frontier.axes import Axes
from nas_service.optimizer.frontier.encoding import Params

from .builders import REFERENCE, SPACE, a_sampler, a_study, completed, n_parameters, quality, repeated, trained, values


def latency_ms(params: Params) -> float:
    return params["depth"] * (0.1 + params["width"] / 100)


def run(study: optuna.Study, told: Any, trials: int) -> list[Params]:
    for _ in range(trials):
        trial = study.ask(SPACE)
        study.tell(trial, told(trial.params))
    return [trial.params for trial in study.trials]


def volume(points: list[tuple[float, ...]], reference: tuple[float, ...]) -> float:
    return hypervolume(np.array(points), np.array(reference))


def compare(
    told: Any, directions: tuple[str, ...], minimised: Any, worst: tuple[float, ...], trials: int = 25, **given: Any
) -> None:
    """The guided search covers more than random ones of the same length."""
    covered = {}
    for kind, startup in (("guided", None), ("random", 99)):
        study = a_study(a_sampler(n_startup_trials=startup, **given), directions)
        covered[kind] = volume([minimised(params) for params in run(study, told, trials)], worst)
    assert covered["guided"] > covered["random"]


def test_two_unknown_objectives_beside_a_known_one() -> None:
    compare(
        lambda params: (n_parameters(params), quality(params), latency_ms(params)),
        ("minimize", "maximize", "minimize"),
        lambda params: (log10(n_parameters(params)), -quality(params), latency_ms(params)),
        (7.0, -10.0, 30.0),
        reference_point=(1e7, 10.0, 30.0),
    )


def test_no_known_objective_at_all() -> None:
    compare(
        lambda params: (log10(n_parameters(params)), quality(params)),
        ("minimize", "maximize"),
        lambda params: (log10(n_parameters(params)), -quality(params)),
        (7.0, -10.0),
        costs={},
        reference_point=(7.0, 10.0),
    )


def test_four_objectives() -> None:
    compare(
        lambda params: (n_parameters(params), quality(params), latency_ms(params), params["depth"]),
        ("minimize", "maximize", "minimize", "minimize"),
        lambda params: (log10(n_parameters(params)), -quality(params), latency_ms(params), params["depth"]),
        (7.0, -10.0, 30.0, 9.0),
        trials=12,
        costs={0: n_parameters, 3: lambda params: params["depth"]},
        cost_scale="linear",
        reference_point=(1e7, 10.0, 30.0, 9.0),
    )


def test_a_single_objective_is_minimised() -> None:
    study = a_study(a_sampler(costs={}, reference_point=None), ("minimize",))
    found = run(study, lambda params: (-quality(params),), 30)
    best = max(quality(params) for params in found)
    assert best > quality({"depth": 3, "width": 512, "lr": 1e-3}) - 2


def test_all_objectives_known_needs_no_learning() -> None:
    known = {0: n_parameters, 1: lambda params: -latency_ms(params)}
    study = a_study(a_sampler(costs=known, cost_scale="linear", reference_point=(3e6, -50.0)))
    run(study, lambda params: (n_parameters(params), -latency_ms(params)), 15)
    assert len(completed(study)) == 15


def test_a_known_cost_may_be_maximised() -> None:
    """Speed, say: nothing below the reference is proposed."""
    study = a_study(
        a_sampler(costs={0: lambda params: 1e6 / n_parameters(params)}, reference_point=(10.0, 0.0)),
        ("maximize", "maximize"),
    )
    found = run(study, lambda params: (1e6 / n_parameters(params), quality(params)), 20)
    assert all(n_parameters(params) < 1e5 for params in found[9:])


def test_constants_reach_the_functions() -> None:
    sampler = a_sampler(
        costs={0: lambda params: n_parameters(params) * params["classes"]},
        constraints={"thin": lambda params: params["width"] - params["widest"]},
        constants={"classes": 10, "widest": 100},
    )
    found = run(a_study(sampler), lambda params: (n_parameters(params) * 10, quality(params)), 12)
    assert max(params["width"] for params in found[1:]) <= 100


def test_without_a_reference_the_best_70_percent_of_the_first_values_count() -> None:
    axes = Axes([StudyDirection.MINIMIZE, StudyDirection.MAXIMIZE], {0: n_parameters}, "log", {})
    told = [[10.0 ** (k % 4), float(k)] for k in range(10)]
    later = [[1e6, -5.0]]
    assert axes.ruled_reference(axes.points(told + later), startup=10, quantile=0.7).tolist() == pytest.approx(
        [6, -2.7]
    )


def test_a_part_of_the_reference_may_be_left_to_the_rule() -> None:
    for reference in ((1e7, None), (None, 10.0), (None, None), None):
        trained(a_study(a_sampler(reference_point=reference)), 11)


def test_nothing_is_proposed_beyond_the_cost_that_counts() -> None:
    study = trained(a_study(a_sampler(reference_point=(1e4, 0.0))), 20)
    assert all(n_parameters(trial.params) < 1e4 for trial in study.trials[1:])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"reference_point": (1e7,)}, "reference_point needs 2 values, one for each objective .got 1"),
        ({"reference_point": (inf, 10.0)}, r"reference_point\[0\] has no place on the axis"),
        ({"reference_point": (0.0, 10.0)}, r"reference_point\[0\] has no place on the axis"),
        ({"reference_point": (1e7, nan)}, r"reference_point\[1\] has no place on the axis"),
        ({"costs": {2: n_parameters}}, "costs names objective 2, and the study has 2, from 0"),
        ({"costs": {-1: n_parameters}}, "costs names objective -1"),
    ],
)
def test_what_does_not_fit_the_study_is_named_at_the_first_ask(given: dict[str, Any], message: str) -> None:
    study = a_study(a_sampler(search_space=SPACE, **given))
    with pytest.raises(ValueError, match=message):
        study.ask(SPACE)


def fails(params: Params) -> float:
    raise RuntimeError("no idea")


@pytest.mark.parametrize(
    ("cost", "message"),
    [
        (fails, r"costs\[0\] failed with RuntimeError\('no idea'\) for the parameters"),
        (lambda params: params["widht"], r"costs\[0\] failed with KeyError\('widht'\)"),
        (lambda params: nan, r"costs\[0\] must be finite"),
        (lambda params: inf, r"costs\[0\] must be finite"),
        (lambda params: 0, r"costs\[0\] must be above 0 on a log scale .got 0.0"),
        (lambda params: "many", r"costs\[0\] failed with ValueError"),
        (lambda params: 2 * n_parameters(params), "trial 0 was told .* for objective 0, and costs.0. gives"),
    ],
)
@pytest.mark.parametrize("search_space", [None, SPACE])
def test_a_wrong_cost_function_gives_one_clear_error(cost: Any, message: str, search_space: Any) -> None:
    study = a_study(a_sampler(costs={0: cost}, search_space=search_space))
    with pytest.raises(ValueError, match=message):
        run(study, values, 2)


def test_a_cost_may_be_told_a_little_rounded() -> None:
    run(a_study(), lambda params: (float(f"{n_parameters(params):.8g}"), quality(params)), 3)


def test_an_exact_cost_is_checked_however_many_trials_there_are() -> None:
    study = trained(a_study(), 11)
    trial = study.ask(SPACE)
    study.tell(trial, (n_parameters(trial.params) + 1, quality(trial.params)))
    with pytest.raises(ValueError, match="trial 11 was told"):
        study.ask(SPACE)


@pytest.mark.parametrize("startup", [0, 1])
def test_it_may_begin_to_predict_after_a_single_trial(startup: int) -> None:
    study = trained(a_study(a_sampler(n_startup_trials=startup)), 4)
    assert repeated(study) == 0


def test_equal_values_are_no_trouble() -> None:
    study = a_study(a_sampler(reference_point=None))
    assert len({params["lr"] for params in run(study, lambda params: (n_parameters(params), 1.0), 12)}) == 12


def test_one_value_far_off_does_not_hide_the_others() -> None:
    """A diverged quality of minus a million, say."""
    study = a_study()

    def told(params: Params) -> tuple[float, float]:
        return n_parameters(params), -1e6 if params["lr"] > 5e-3 else quality(params)

    late = run(study, told, 25)[15:]
    assert np.median([abs(log10(params["lr"]) + 3) for params in late]) < 0.25


def test_only_the_reference_says_which_part_of_the_front_matters() -> None:
    cheap = trained(a_study(a_sampler(reference_point=(1e4, 0.0))), 20).trials[-5:]
    good = trained(a_study(a_sampler(reference_point=(REFERENCE[0], 25.0))), 20).trials[-5:]
    assert max(n_parameters(trial.params) for trial in cheap) < min(n_parameters(trial.params) for trial in good)


def test_a_space_of_one_point_is_proposed_once_and_then_again() -> None:
    space = {"x": FloatDistribution(2.0, 2.0)}
    study = a_study(a_sampler(costs={0: lambda params: params["x"]}, reference_point=None))
    for _ in range(8):
        study.tell(study.ask(space), (2.0, 1.0))
    assert {trial.params["x"] for trial in study.trials} == {2.0}
