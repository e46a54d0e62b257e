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

    def costs_of(self, configurations: Sequence[Params]) -> Points:
        """Known costs (n, m); not a number where the objective is unknown.

        Raises:
            ValueError: when a cost function fails or gives what has no place on the axis.
        """
        points = np.full((len(configurations), len(self)), np.nan)
        for index in self._costs:
            points[:, index] = self._on_axis(index, [self._cost(index, params) for params in configurations])
        return points

    def values_of(self, trials: Sequence[FrozenTrial]) -> Points:
        """What completed trials were told (n, m).

        Raises:
            ValueError: when a cost is not what the cost function says.
        """
        told = np.array([trial.values for trial in trials], dtype=np.float64).reshape(-1, len(self))
        for index in self._costs:
            for trial, value in zip(trials, told[:, index].tolist(), strict=True):
                if not math.isclose(cost := self._cost(index, trial.params), value, rel_tol=TOLERANCE, abs_tol=1e-12):
                    raise ValueError(
                        f"trial {trial.number} was told {value} for objective {index}, and costs[{index}] gives {cost} "
                        f"for its parameters {trial.params}; make the function give what the study is told"
                    )
        return np.column_stack([self._on_axis(index, told[:, index]) for index in range(len(self))])

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
            ValueError: when there is not one for each objective.
        """
        given = [None] * len(self) if given is None else given
        if len(given) != len(self):
            raise ValueError(f"reference_point needs {len(self)} values, one for each objective (got {len(given)})")
        worst = [np.nan if value is None else value for value in given]
        return np.array([self._on_axis(index, [value])[0] for index, value in enumerate(worst)])

    def ruled_reference(self, values: Points, startup: int, quantile: float) -> Floats:
        """The worst values that count (m,) by the rule of `FrontierSampler`, from those reached (n, m)."""
        worst: Floats = values.max(axis=0)
        worst[self.unknown] = np.quantile(values[:startup, self.unknown], quantile, axis=0)
        return worst

    def _on_axis(self, index: int, values: Sequence[float] | Floats) -> Floats:
        axis = np.asarray(values, dtype=np.float64)
        if index in self._costs and self._scale == "log":
            if np.any(axis <= 0):
                raise ValueError(f"costs[{index}] must be above 0 on a log scale (got {axis.min()})")
            axis = np.log10(axis)
        return self._signs[index] * axis

    def _cost(self, index: int, params: Params) -> float:
        try:
            cost = float(self._costs[index](self._constants | params))
        except Exception as error:
            raise ValueError(f"costs[{index}] failed with {error!r} for the parameters {params}") from error
        if not math.isfinite(cost):
            raise ValueError(f"costs[{index}] must be finite (got {cost} for the parameters {params})")
        return cost
