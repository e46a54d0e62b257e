"""A Gaussian process on the unit cube: the hyperparameters most probable under the data, and predictions.

Prior: a linear trend plus a Matern-5/2 process with a length for each input, observation noise, and log-normal priors
on all of them (Rasmussen and Williams, 2006, chapters 2 and 5). Standardise the observations first: mean 0, variance 1.

n: observations, D: inputs, q: places asked about.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

Floats = NDArray[np.float64]

SQRT5 = np.sqrt(5.0)
JITTER = 1e-8  # on the diagonal, of a variance of about 1
NOISE_BOUNDS = (1e-6, 1.0)  # variance

# log-normal priors: (mean of the logarithm, its standard deviation)
LENGTH_PRIOR = (0.0, 1.0)
VARIANCE_PRIOR = (0.0, 1.0)
TREND_PRIOR = (0.0, 1.5)
NOISE_PRIOR = (np.log(1e-3), 1.5)


@dataclass(frozen=True)
class Hyperparameters:
    """Of the prior and the noise; variances are of standardised observations."""

    lengths: Floats  # (D,)
    variance: float  # of the Matern process
    trend: float  # variance of the linear trend's slope over the cube
    noise: float  # variance of an observation, beside what is known of each

    def covariance(self, a: Floats, b: Floats) -> Floats:
        """Prior covariance between places (n, D) and (q, D): (n, q)."""
        r = _distances(a / self.lengths, b / self.lengths)
        trend = self.trend * (a - 0.5) @ (b - 0.5).T
        return np.asarray(self.variance * (1 + SQRT5 * r + 5 / 3 * r**2) * np.exp(-SQRT5 * r) + trend)

    def prior_variance(self, places: Floats) -> Floats:
        """Prior variance at places (q, D): (q,)."""
        return np.asarray(self.variance + self.trend * np.sum((places - 0.5) ** 2, axis=1))


class GaussianProcess:
    """The posterior after some observations."""

    def __init__(self, hyperparameters: Hyperparameters, x: Floats, y: Floats, known_noise: Floats) -> None:
        """Condition on observations.

        Args:
            hyperparameters: see `fit`.
            x: places (n, D) in the unit cube.
            y: observations (n,), standardised.
            known_noise: variance of each observation beside the fitted noise (n,).
        """
        self._hyperparameters, self._x = hyperparameters, x
        covariance = hyperparameters.covariance(x, x)
        covariance[np.diag_indices(len(x))] += hyperparameters.noise + known_noise + JITTER
        self._factor = cho_factor(covariance, lower=True, overwrite_a=True, check_finite=False)
        self._weights = cho_solve(self._factor, y, check_finite=False)

    def predict(self, places: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the noise-free function at places (q, D): (q,), (q,)."""
        cross = self._hyperparameters.covariance(self._x, places)  # (n, q)
        mean = cross.T @ self._weights
        half = solve_triangular(self._factor[0], cross, lower=True, check_finite=False, overwrite_b=True)
        variance = self._hyperparameters.prior_variance(places) - np.einsum("ij,ij->j", half, half)
        return mean, np.sqrt(variance.clip(min=1e-12))

    def mean(self, places: Floats) -> Floats:
        """Mean alone (q,)."""
        return np.asarray(self._hyperparameters.covariance(places, self._x) @ self._weights)


def fit(x: Floats, y: Floats, known_noise: Floats) -> Hyperparameters:
    """Find the hyperparameters of highest posterior density by L-BFGS from one fixed start.

    The arguments are those of `GaussianProcess`. O(n^3) for each of some 30 steps: give it a few hundred observations.
    """
    dimensions = x.shape[1]
    squares = (x[:, None, :] - x[None, :, :]) ** 2  # (n, n, D)
    squares = np.ascontiguousarray(np.moveaxis(squares, 2, 0))  # (D, n, n)
    linear = (x - 0.5) @ (x - 0.5).T
    priors = np.array([LENGTH_PRIOR] * dimensions + [VARIANCE_PRIOR, TREND_PRIOR, NOISE_PRIOR])
    priors[:dimensions, 0] += 0.5 * np.log(max(dimensions, 1))  # distances in the cube grow with its dimension
    bounds = [(np.log(0.05), np.log(50.0))] * dimensions + [(np.log(1e-3), np.log(1e3))] * 2
    bounds += [(float(np.log(NOISE_BOUNDS[0])), float(np.log(NOISE_BOUNDS[1])))]

    def loss(logs: Floats) -> tuple[float, Floats]:
        return _negative_log_posterior(logs, squares, linear, y, known_noise, priors)

    found = minimize(loss, priors[:, 0], jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60})
    values = np.exp(found.x)
    return Hyperparameters(values[:dimensions], *map(float, values[dimensions:]))


def _negative_log_posterior(
    logs: Floats, squares: Floats, linear: Floats, y: Floats, known_noise: Floats, priors: Floats
) -> tuple[float, Floats]:
    """Its value and gradient by the logarithms of lengths, variance, trend and noise."""
    dimensions = len(squares)
    lengths, (variance, trend, noise) = np.exp(logs[:dimensions]), np.exp(logs[dimensions:])
    r = np.sqrt(np.tensordot(lengths**-2, squares, axes=1))
    decay = np.exp(-SQRT5 * r)
    matern = variance * (1 + SQRT5 * r + 5 / 3 * r**2) * decay
    covariance = matern + trend * linear
    covariance[np.diag_indices(len(y))] += noise + known_noise + JITTER
    try:
        factor = cho_factor(covariance, lower=True, check_finite=False)
    except np.linalg.LinAlgError:
        return 1e25, np.zeros_like(logs)
    weights = cho_solve(factor, y, check_finite=False)
    inverse = cho_solve(factor, np.eye(len(y)), check_finite=False)
    outer = np.outer(weights, weights) - inverse  # d log likelihood / d covariance, twice
    slope = variance * 5 / 3 * (1 + SQRT5 * r) * decay * outer  # d matern / d (r^2) is minus half of it
    by_length = 0.5 * np.tensordot(squares, slope, axes=([1, 2], [0, 1])) * lengths**-2
    by_rest = 0.5 * np.array([np.sum(outer * matern), trend * np.sum(outer * linear), noise * np.trace(outer)])
    misfit = (logs - priors[:, 0]) / priors[:, 1]
    value = 0.5 * y @ weights + np.sum(np.log(np.diag(factor[0]))) + 0.5 * misfit @ misfit
    return float(value), -np.concatenate([by_length, by_rest]) + misfit / priors[:, 1]


def _distances(a: Floats, b: Floats) -> Floats:
    squares = np.sum(a**2, axis=1)[:, None] + np.sum(b**2, axis=1)[None, :] - 2 * a @ b.T
    distances: Floats = np.sqrt(squares.clip(min=0))
    return distances
