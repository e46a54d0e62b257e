"""Small studies: a network's parameters are known, its quality is a smooth function that has to be learned."""

from collections import Counter
from collections.abc import Callable
from math import log10
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from nas_service.optimizer.frontier import FrontierSampler
from nas_service.optimizer.frontier.encoding import Params

DIRECTIONS = ("minimize", "maximize")
SPACE: dict[str, BaseDistribution] = {
    "depth": IntDistribution(1, 8),
    "lr": FloatDistribution(1e-4, 1e-2, log=True),
    "width": IntDistribution(8, 512, log=True),
}
REFERENCE = (1e7, 10.0)  # the worst parameters and quality that count

Objective = Callable[[Trial], tuple[float, ...]]


class CountingSampler(FrontierSampler):
    """Notes the trials that needed a random value."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fallbacks: list[tuple[int, str]] = []

    def sample_independent(self, study: Study, trial: FrozenTrial, name: str, distribution: BaseDistribution) -> Any:
        self.fallbacks.append((trial.number, name))
        return super().sample_independent(study, trial, name, distribution)


def n_parameters(params: Params) -> float:
    return float(params["depth"] * params["width"] ** 2)


def quality(params: Params) -> float:
    """Grows with the parameters; the best depth is 3, the best lr 1e-3."""
    return 5 * log10(n_parameters(params)) - 3 * (log10(params["lr"]) + 3) ** 2 - 0.2 * (params["depth"] - 3) ** 2


def values(params: Params) -> tuple[float, float]:
    return n_parameters(params), quality(params)


def a_sampler(**given: Any) -> FrontierSampler:
    fields = {"costs": {0: n_parameters}, "reference_point": REFERENCE, "cost_scale": "log", "seed": 0}
    return FrontierSampler(**(fields | given))


def a_study(sampler: FrontierSampler | None = None, directions: tuple[str, ...] = DIRECTIONS, **given: Any) -> Study:
    return optuna.create_study(directions=directions, sampler=sampler or a_sampler(), **given)


def trained(study: Study, trials: int, space: dict[str, BaseDistribution] = SPACE) -> Study:
    """The study after so many more trials, one at a time."""
    for _ in range(trials):
        trial = study.ask(space)
        study.tell(trial, values(trial.params))
    return study


def a_copy(study: Study, sampler: FrontierSampler) -> Study:
    copied = optuna.create_study(directions=[direction.name.lower() for direction in study.directions], sampler=sampler)
    copied.add_trials(study.get_trials(deepcopy=True))
    return copied


def repeated(study: Study) -> int:
    """How many trials have the parameters of an earlier one."""
    counts = Counter(frozenset(trial.params.items()) for trial in study.get_trials(deepcopy=False))
    return sum(count - 1 for count in counts.values())


def completed(study: Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
