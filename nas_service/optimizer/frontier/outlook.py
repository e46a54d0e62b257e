"""What a study's history lets one expect of a configuration: the gain in hypervolume times the chance to count.

n: completed trials, m: objectives, P: parameters, D: features, q: candidates.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nas_service.domain.front import Points, non_dominated
from nas_service.optimizer.frontier.beliefs import (
    MAX_OBSERVED,
    Belief,
    Chance,
    Fits,
    Observations,
    behind_front,
    near_and_spread,
    without_tail,
)
from nas_service.optimizer.frontier.candidates import Configurations
from nas_service.optimizer.frontier.encoding import Floats
from nas_service.optimizer.frontier.improvement import Beliefs, expected_improvement

COMPLETED, PRUNED = -1.0, 1.0  # whether a trial came to nothing, as a number that should not be above 0


@dataclass(frozen=True)
class History:
    """What other trials did; all values minimised."""

    rows: Floats  # (n, P) of completed trials
    values: Points  # (n, m)
    noise: Mapping[int, Floats]  # by unknown objective: known variance of each value (n,)
    violations: Mapping[str, Floats]  # by constraint that trials set: (n,), not a number where a trial did not
    # ranges that depend on other parameters: column, 1.0 for the highest or -1.0 for the lowest place, these (n,)
    limits: Sequence[tuple[int, float, Floats]]
    pruned_rows: Floats
    running_rows: Floats
    running_costs: Points  # not a number where the objective is unknown


class Outlook:
    """Predictions from a history."""

    def __init__(
        self, history: History, reference: Floats, features_of: Callable[[Floats], Floats], fits: Fits, seed: int
    ) -> None:
        """Learn.

        Args:
            history: of the study.
            reference: the worst values that count (m,).
            features_of: what a Gaussian process sees of rows (q, P): (q, D).
            fits: hyperparameters found before.
            seed: of quasi-Monte Carlo, where it is needed.
        """
        self._reference, self._features_of, self._seed = reference, features_of, seed
        x, running_x = features_of(history.rows), features_of(history.running_rows)
        violated = np.array([row > 0 for row in history.violations.values()]).reshape(-1, len(x))
        gap = behind_front(history.values, history.values[non_dominated(history.values)])
        near = near_and_spread(gap, MAX_OBSERVED)  # where the front is: of the others nothing is asked
        near = near[np.flatnonzero(~violated[:, near].any(axis=0))]
        reached, expected = history.values[near], history.running_costs.copy()
        self._beliefs: dict[int, Belief] = {}
        for objective, noise in history.noise.items():
            values = without_tail(history.values[:, objective], reference[objective])
            belief = self._beliefs[objective] = Belief(fits, Observations(x, values, noise), gap)
            reached[:, objective] = belief.mean(x[near])
            expected[:, objective] = belief.believe(running_x)
        self._front = np.vstack([reached, expected])
        on_front = non_dominated(self._front)
        self.front_rows = np.vstack([history.rows[near], history.running_rows])[on_front]
        self._chances = [
            Chance(fits, x[~np.isnan(row)], row[~np.isnan(row)], origin=0.0) for row in history.violations.values()
        ]
        self._limits = [
            (column, side, Chance(fits, x[~np.isnan(ends)], -side * ends[~np.isnan(ends)]))
            for column, side, ends in history.limits
        ]
        if len(history.pruned_rows):
            tried = np.vstack([x, features_of(history.pruned_rows)])
            ends = np.repeat([COMPLETED, PRUNED], [len(x), len(history.pruned_rows)])
            self._chances.append(Chance(fits, tried, ends, origin=COMPLETED))

    def gain(self, candidates: Configurations) -> Floats:
        """Expected gain in hypervolume of each candidate (q,)."""
        x = self._features_of(candidates.rows)
        mean, deviation = candidates.costs.copy(), np.zeros_like(candidates.costs)
        for objective, belief in self._beliefs.items():
            mean[:, objective], deviation[:, objective] = belief.foresee(x)
        gain = expected_improvement(Beliefs(mean, deviation), self._front, self._reference, self._seed)
        for chance in self._chances:
            gain = gain * chance(x)
        for column, side, chance in self._limits:
            places = candidates.rows[:, column]
            gain = gain * np.where(np.isnan(places), 1.0, chance(x, side * places))
        return gain
