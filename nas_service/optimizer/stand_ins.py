"""Objective values for refused trials, which were never trained.

Optuna wants values of every trial that it is told as complete. A known cost stands as it is (the arm's largest when the
sizes make no architecture); a measured value is that of the trial of which this is a duplicate, else the worst seen so
far: never attractive, and no outlier that would flatten what a surrogate sees of the others. All are functions of the
set of trials told, so a rebuild gives the same.
"""

from math import log, log10

from nas_service.domain.costs import Costs
from nas_service.domain.objectives import Objective
from nas_service.domain.search import Search


class StandIns:
    """The worst value of each objective and the values of each architecture, as told to the study."""

    def __init__(self, search: Search, arm: str) -> None:
        self._objectives = search.objectives
        self._largest = search.costs_of(search.arms[arm].largest(search.shape))
        self._worst: list[float] | None = None  # of each objective among the completed trials
        self._measured: dict[str, list[float]] = {}  # duplicate key -> values

    def add_completed(self, key: str, values: list[float]) -> bool:
        """Take in a completed trial by its duplicate key, values as told; say whether it is the worst in some way."""
        self._measured[key] = self._worse(self._measured.get(key, values), values)
        worst = self._worse(self._worst or values, values)
        changed, self._worst = worst != self._worst, worst
        return changed

    def values(self, key: str | None, costs: Costs | None) -> list[float]:
        """The values of a refused trial, as told."""
        if key is not None and key in self._measured:
            return self._measured[key]
        return [self._value(position, costs) for position in range(len(self._objectives))]

    def _worse(self, one: list[float], other: list[float]) -> list[float]:
        """The worse of two in each objective."""
        rows = zip(self._objectives, one, other, strict=True)
        return [max(a, b) if objective.direction == "minimize" else min(a, b) for objective, a, b in rows]

    def _value(self, position: int, costs: Costs | None) -> float:
        objective = self._objectives[position]
        if objective.is_known:
            return on_axis(objective, float(getattr(costs or self._largest, objective.name)))
        if self._worst is not None:
            return self._worst[position]
        return 0.0 if objective.reference is None else on_axis(objective, objective.reference)


def on_axis(objective: Objective, value: float) -> float:
    """The value as the study is told it: log10 where the objective's scale is log.

    Raises:
        ValueError: when a value on a log scale is not above 0.
    """
    if objective.scale == "linear":
        return value
    if value <= 0:
        raise ValueError(f"{objective.name} must be above 0 on a log scale (got {value})")
    return log10(value)


def error_on_axis(objective: Objective, value: float, error: float) -> float:
    """The standard error of a value as the study is told it, to first order."""
    return error if objective.scale == "linear" else error / (value * log(10))
