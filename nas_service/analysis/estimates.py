"""Intervals of sums of qualities, each the mean over the seeds of one shape.

k: shapes. Degrees of freedom of a sum: Satterthwaite, 1946, but never more than all seeds have. For all sums of
a family together the largest of their t values is simulated, so sums that share shapes cost little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from nas_service.analysis.noise import SeedNoise

Floats = NDArray[np.float64]

DRAWS = 20_000  # of a family's errors; seeded


@dataclass(frozen=True)
class Estimate:
    """A number with its interval; without one where nothing is known of the noise of seeds."""

    value: float
    low: float | None = None
    high: float | None = None
    standard_error: float | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The interval, where it is known that there is one."""
        assert self.low is not None
        assert self.high is not None
        return self.low, self.high

    @property
    def sign(self) -> int | None:
        """1 or -1 when the interval lies above or below 0, else 0; None without one."""
        if self.low is None or self.high is None:
            return None
        return int(self.low > 0) - int(self.high < 0)


class Sum(NamedTuple):
    """A weighted sum of the shapes' qualities, and a number."""

    weights: Floats  # (k,)
    offset: float = 0.0
    flattery: tuple[float, float] = (0.0, 0.0)  # by how much it may be too high, and too low, beside its noise

    def plus(self, other: "Sum", times: float = 1.0) -> "Sum":
        """This sum and the other one so many times; a negative number swaps too high and too low."""
        high, low = other.flattery if times >= 0 else other.flattery[::-1]
        return Sum(
            self.weights + times * other.weights,
            self.offset + times * other.offset,
            (self.flattery[0] + abs(times) * high, self.flattery[1] + abs(times) * low),
        )


class Estimator:
    """Turns sums into estimates."""

    def __init__(self, seeds: Sequence[Sequence[float]], noise: SeedNoise | None) -> None:
        """Begin with the seeds' qualities of each shape (k of them); without noise there are no intervals."""
        self._means = np.array([np.mean(values) for values in seeds])
        self._noise = noise
        if noise is not None:
            known = [noise.of(values) for values in seeds]
            self._variances = np.array([one.value / len(values) for one, values in zip(known, seeds, strict=True)])
            self._dfs = np.array([one.df for one in known])

    def estimate(self, of: Sum, level: float, critical: float | None = None) -> Estimate:
        """The sum with its interval at the level, or with `critical` standard errors to either side.

        The interval reaches further where the sum may be flattered, so it holds whether that is taken off or not.
        """
        value = float(of.weights @ self._means + of.offset)
        if self._noise is None:
            return Estimate(value)
        error, df = self._error(of)
        reach = error * (critical if critical is not None else float(student.ppf(0.5 + level / 2, df)))
        high, low = map(float, of.flattery)
        return Estimate(value, value - reach - high, value + reach + low, error)

    def critical_of_family(self, sums: Sequence[Sum], level: float) -> float:
        """How many standard errors to either side cover all the sums at once with the probability `level`."""
        assert self._noise is not None, "a family has intervals only where there is noise"
        weights = np.array([one.weights * np.sqrt(self._variances) for one in sums])  # (sums, k)
        errors = np.sqrt((weights**2).sum(axis=1))
        used = errors > 0
        if not used.any():
            return 0.0
        df = min(self._error(one)[1] for one, is_used in zip(sums, used, strict=True) if is_used)
        generator = np.random.default_rng(0)
        normal = generator.standard_normal((DRAWS, weights.shape[1]))
        largest = np.abs(normal @ (weights[used] / errors[used, None]).T).max(axis=1)
        return float(np.quantile(largest / np.sqrt(generator.chisquare(df, DRAWS) / df), level))

    def _error(self, of: Sum) -> tuple[float, float]:
        """The standard error of a sum and its degrees of freedom."""
        assert self._noise is not None, "asked for intervals only"
        parts = of.weights**2 * self._variances
        total = float(parts.sum())
        if total == 0:
            return 0.0, self._noise.df
        return float(np.sqrt(total)), min(float(total**2 / (parts**2 / self._dfs).sum()), self._noise.df)
