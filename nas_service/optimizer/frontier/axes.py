"""The objectives of a study as axes to be minimised: what is told and what the cost functions say.

n: trials or configurations, m: objectives.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from nas_service.domain.front import Points
from nas_service.optimizer.frontier.encoding import Floats, Params

Function = Callable[[Params], float]
Scale = Literal["linear", "log"]

STANDARD_ERRORS = "standard_errors"  # user attribute of a trial: one for each objective, None where it is exact
TOLERANCE = 1e-6  # relative, between a cost that was told and the cost function's


class LacksParameterError(ValueError):
    """A function of a configuration asked for a parameter that it does not have."""


class Axes:
    """Directions, known costs and their scale."""

    def __init__(
        self, directions: Sequence[StudyDirection], costs: Mapping[int, Function], scale: Scale, constants: Params
    ) -> None:
        """Describe the objectives.

        Raises:
            ValueError: when `costs` names an objective that the study does not have.
        """
        if unheard := [index for index in costs if not 0 <= index < len(directions)]:
            raise ValueError(f"costs names objective {unheard[0]}, and the study has {len(directions)}, from 0")
        self._signs = [1.0 if direction is StudyDirection.MINIMIZE else -1.0 for direction in directions]
        self._costs, self._scale, self._constants = costs, scale, constants
        self.unknown = [index for index in range(len(directions)) if index not in costs]

    def __len__(self) -> int:
        return len(self._signs)

    def costs_told(self, params: Params) -> list[float]:
        """What a trial with these parameters will be told (m); not a number where the objective is unknown.

        Raises:
            ValueError: when a cost function fails or gives what has no place on the axis; `LacksParameterError` when it
                asks for a parameter that is not there.
        """
        return [self._cost(index, params) if index in self._costs else math.nan for index in range(len(self))]

    def points(self, told: Sequence[Sequence[float]]) -> Points:
        """Values or costs as told, on the axes (n, m)."""
        values = np.array(told, dtype=np.float64).reshape(-1, len(self))
        return np.column_stack([self._on_axis(index, values[:, index]) for index in range(len(self))])

    def values_of(self, trials: Sequence[FrozenTrial]) -> Points:
        """What completed trials were told (n, m).

        Raises:
            ValueError: when a cost is not what the cost function says.
        """
        for trial in trials:
            for index in self._costs:
                cost, value = self._cost(index, trial.params), trial.values[index]
                if not math.isclose(cost, value, rel_tol=TOLERANCE, abs_tol=1e-12):
                    raise ValueError(
                        f"trial {trial.number} was told {value} for objective {index}, and costs[{index}] gives {cost} "
                        f"for its parameters {trial.params}; make the function give what the study is told"
                    )
        return self.points([trial.values for trial in trials])

    def noise_of(self, trials: Sequence[FrozenTrial], index: int) -> Floats:
        """Known variance (n,) of the values of an unknown objective; 0 where a trial does not say.

        An estimate from a few replicates is poor: half of it is the trial's own, half the mean of all.
        """
        rows = [trial.user_attrs.get(STANDARD_ERRORS) for trial in trials]
        own = np.array([np.nan if row is None or row[index] is None else float(row[index]) ** 2 for row in rows])
        known = ~np.isnan(own)
        return np.where(known, (own + own[known].mean()) / 2, 0.0) if known.any() else np.zeros(len(own))

    def given_reference(self, given: Sequence[float | None] | None) -> Floats:
        """The worst values that count (m,) as far as they are given; not a number where they are not.

        Raises:
            ValueError: when there is not one for each objective, or one has no place on its axis.
        """
        given = [None] * len(self) if given is None else given
        if len(given) != len(self):
            raise ValueError(f"reference_point needs {len(self)} values, one for each objective (got {len(given)})")
        for index, value in enumerate(given):
            if value is not None and not (math.isfinite(value) and (value > 0 or not self._is_log(index))):
                raise ValueError(
                    f"reference_point[{index}] has no place on the axis of objective {index} (got {value})"
                )
        worst = [np.nan if value is None else value for value in given]
        reference: Floats = self.points([worst])[0]
        return reference

    def ruled_reference(self, values: Points, startup: int, quantile: float) -> Floats:
        """The worst values that count (m,) by the rule of `FrontierSampler`, from those reached (n, m)."""
        worst: Floats = values.max(axis=0)
        worst[self.unknown] = np.quantile(values[:startup, self.unknown], quantile, axis=0)
        return worst

    def _on_axis(self, index: int, values: Floats) -> Floats:
        axis: Floats = self._signs[index] * (np.log10(values) if self._is_log(index) else values)
        return axis

    def _is_log(self, index: int) -> bool:
        return index in self._costs and self._scale == "log"

    def _cost(self, index: int, params: Params) -> float:
        cost = value_of(f"costs[{index}]", self._costs[index], self._constants | params)
        if not math.isfinite(cost):
            raise ValueError(f"costs[{index}] must be finite (got {cost} for the parameters {params})")
        if cost <= 0 and self._is_log(index):
            raise ValueError(f"costs[{index}] must be above 0 on a log scale (got {cost} for the parameters {params})")
        return cost


def value_of(name: str, function: Function, configuration: Params) -> float:
    """What a user's function says of a configuration.

    Raises:
        LacksParameterError: when it asked for a parameter that the configuration does not have (a KeyError).
        ValueError: when it failed otherwise.
    """
    try:
        return float(function(configuration))
    except Exception as error:
        kind = LacksParameterError if isinstance(error, KeyError) else ValueError
        raise kind(f"{name} failed with {error!r} for the parameters {configuration}") from error
