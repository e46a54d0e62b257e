"""How much the quality of a shape varies from seed to seed, where each shape was trained with few seeds, or with one.

Sample variances of 2 to 5 seeds are too rough to stand alone and too different to be pooled. They are moderated: each
is drawn towards a common one, as strongly as they agree (Smyth, 2004, "Linear models and empirical Bayes methods for
assessing differential expression", section 6.2). A shape with one seed has the common one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import f as fisher

Floats = NDArray[np.float64]

LEAST_DF, MOST_DF = 2.0, 1e4  # of the common variance
LEAST_SHAPES = 3  # with fewer, how much their variances differ says nothing


@dataclass(frozen=True)
class Variance:
    """Of one seed's quality, with what it is known from."""

    value: float  # in the quality's unit, squared
    df: float  # degrees of freedom


class SeedNoise:
    """The variances of shapes of one search, from those with several seeds."""

    def __init__(self, seeds: Sequence[Sequence[float]]) -> None:
        """Learn from the seeds' qualities of some shapes; those with one seed teach nothing.

        Raises:
            ValueError: when no shape has two seeds.
        """
        several = [np.asarray(values, dtype=float) for values in seeds if len(values) > 1]
        if not several:
            raise ValueError("no shape was trained with several seeds, so nothing is known of their noise")
        self.shapes = len(several)  # that it was learned from
        variances = np.array([values.var(ddof=1) for values in several])
        dfs = np.array([len(values) - 1.0 for values in several])
        self.df = float(dfs.sum())  # of all seeds together
        self.prior = _common_variance(variances, dfs)

    @property
    def is_enough(self) -> bool:
        """Whether intervals can be made of it; with one degree of freedom they would say nothing."""
        return self.prior.df >= LEAST_DF and self.prior.value > 0

    def of(self, values: Sequence[float]) -> Variance:
        """The variance of a shape with these seeds' qualities."""
        df, prior = len(values) - 1.0, self.prior
        if df == 0 or prior.df >= self.df:
            return prior
        own = float(np.var(values, ddof=1))
        total = prior.df + df
        return Variance((prior.df * prior.value + df * own) / total, min(total, self.df))


def _common_variance(variances: Floats, dfs: Floats) -> Variance:
    """What the variances (n,) with degrees of freedom (n,) have in common.

    The scaled inverse chi-square that they were most likely drawn from; where they hardly differ, their mean.
    """
    pooled = Variance(float(np.sum(dfs * variances) / dfs.sum()), float(dfs.sum()))
    seen, their_dfs = variances[variances > 0], dfs[variances > 0]
    if len(seen) < LEAST_SHAPES:
        return pooled

    def misfit(logs: Floats) -> float:
        value, df = np.exp(logs)
        return -float(np.sum(fisher.logpdf(seen / value, their_dfs, df) - logs[0]))

    start = np.log([np.median(seen), 8.0])
    bounds = [(start[0] - 5, start[0] + 5), np.log([LEAST_DF, MOST_DF])]
    value, df = np.exp(minimize(misfit, start, bounds=bounds, method="L-BFGS-B").x)
    return pooled if df > pooled.df else Variance(float(value), float(df))
