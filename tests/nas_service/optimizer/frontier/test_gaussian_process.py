"""The Gaussian process against textbook formulas, written as they stand there."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from nas_service.optimizer.frontier.gaussian_process import (
    JITTER,
    NOISE_BOUNDS,
    Floats,
    GaussianProcess,
    Hyperparameters,
    _negative_log_posterior,
    fit,
)

PRIORS = np.array([(0.3, 1.0), (0.3, 1.0), (0.0, 1.0), (0.0, 1.5), (np.log(1e-3), 1.5)])
SOME = Hyperparameters(lengths=np.array([0.4, 1.5]), variance=0.8, trend=0.6, noise=0.02)


def some_data(n: int = 15, dimensions: int = 2, seed: int = 0) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    x = rng.random((n, dimensions))
    y = np.sin(5 * x[:, 0]) + x.sum(axis=1)
    return x, (y - y.mean()) / y.std()


def textbook_kernel(a: Floats, b: Floats, at: Hyperparameters) -> Floats:
    """Matern 5/2 (Rasmussen and Williams, equation 4.17) and a linear kernel, entry by entry."""
    covariance = np.empty((len(a), len(b)))
    for i, one in enumerate(a):
        for j, other in enumerate(b):
            r = np.linalg.norm((one - other) / at.lengths)
            matern = (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r)
            covariance[i, j] = at.variance * matern + at.trend * (one - 0.5) @ (other - 0.5)
    return covariance


def test_the_posterior_is_the_textbooks() -> None:
    x, y = some_data()
    places, known = np.random.default_rng(1).random((7, 2)), np.linspace(0, 0.1, len(x))
    cross = textbook_kernel(places, x, SOME)
    inverse = np.linalg.inv(textbook_kernel(x, x, SOME) + np.diag(SOME.noise + known + JITTER))
    mean, deviation = GaussianProcess(SOME, x, y, known).predict(places)
    assert mean == pytest.approx(cross @ inverse @ y)
    variance = np.diag(textbook_kernel(places, places, SOME) - cross @ inverse @ cross.T)
    assert deviation == pytest.approx(np.sqrt(variance))


def test_the_mean_alone_is_the_mean_of_the_prediction() -> None:
    x, y = some_data()
    process = GaussianProcess(SOME, x, y, np.zeros(len(x)))
    assert process.mean(x[:4] ** 2) == pytest.approx(process.predict(x[:4] ** 2)[0])


@pytest.mark.parametrize("seed", range(5))
def test_the_gradient_is_that_of_finite_differences(seed: int) -> None:
    x, y = some_data(seed=seed)
    squares = np.moveaxis((x[:, None, :] - x[None, :, :]) ** 2, 2, 0)
    known = np.linspace(0, 0.05, len(x))
    logs = PRIORS[:, 0] + 0.5 * np.random.default_rng(seed).standard_normal(len(PRIORS))

    def posterior(at: Floats) -> tuple[float, Floats]:
        return _negative_log_posterior(at, squares, (x - 0.5) @ (x - 0.5).T, y, known, PRIORS)

    differences = approx_fprime(logs, lambda at: posterior(at)[0], 1e-6)
    assert posterior(logs)[1] == pytest.approx(differences, rel=1e-3, abs=1e-4)


def test_the_posterior_density_is_likelihood_times_prior() -> None:
    """Up to a constant that does not depend on the hyperparameters."""
    x, y = some_data()
    squares = np.moveaxis((x[:, None, :] - x[None, :, :]) ** 2, 2, 0)

    def both(logs: Floats) -> tuple[float, float]:
        values = np.exp(logs)
        at = Hyperparameters(values[:2], *map(float, values[2:]))
        covariance = textbook_kernel(x, x, at) + (at.noise + JITTER) * np.eye(len(x))
        textbook = 0.5 * y @ np.linalg.inv(covariance) @ y + 0.5 * np.linalg.slogdet(covariance)[1]
        textbook += np.sum((logs - PRIORS[:, 0]) ** 2 / PRIORS[:, 1] ** 2) / 2
        ours = _negative_log_posterior(logs, squares, (x - 0.5) @ (x - 0.5).T, y, np.zeros(len(x)), PRIORS)[0]
        return ours, float(textbook)

    differences = [ours - textbook for ours, textbook in map(both, (PRIORS[:, 0], PRIORS[:, 0] + 0.7))]
    assert differences[0] == pytest.approx(differences[1], abs=1e-6)


def test_the_fit_is_where_no_small_step_is_more_probable() -> None:
    x, y = some_data(40)
    y = y + 0.1 * np.random.default_rng(1).standard_normal(40)
    found = fit(x, y, np.zeros(40))
    logs = np.log([*found.lengths, found.variance, found.trend, found.noise])
    squares = np.moveaxis((x[:, None, :] - x[None, :, :]) ** 2, 2, 0)
    priors = PRIORS.copy()
    priors[:2, 0] = 0.5 * np.log(2)

    def loss(at: Floats) -> float:
        return _negative_log_posterior(at, squares, (x - 0.5) @ (x - 0.5).T, y, np.zeros(40), priors)[0]

    steps = [sign * 0.05 * step for step in np.eye(len(logs)) for sign in (-1, 1)]
    assert all(loss(logs + step) > loss(logs) for step in steps)


def test_a_smooth_function_is_predicted_between_its_observations() -> None:
    x, y = some_data(60)
    held_out, process = slice(0, 10), GaussianProcess(fit(x[10:], y[10:], np.zeros(50)), x[10:], y[10:], np.zeros(50))
    mean, deviation = process.predict(x[held_out])
    assert np.abs(mean - y[held_out]).max() < 0.1
    assert np.all(np.abs(mean - y[held_out]) < 4 * deviation)


def test_a_noisy_observation_is_believed_less_than_an_exact_one() -> None:
    x, y = np.array([[0.2, 0.5], [0.8, 0.5]]), np.array([1.0, 1.0])
    mean, deviation = GaussianProcess(SOME, x, y, known_noise=np.array([0.0, 2.0])).predict(x)
    assert mean[0] > mean[1]
    assert deviation[0] < deviation[1]


def test_known_noise_is_not_fitted_once_more() -> None:
    x, _ = some_data(80)
    scatter = np.random.default_rng(0).standard_normal(80)
    y = np.sin(5 * x[:, 0]) + 0.5 * scatter
    unknown, known = fit(x, y, np.zeros(80)), fit(x, y, np.full(80, 0.25))
    assert unknown.noise == pytest.approx(0.25, rel=0.5)
    assert known.noise < unknown.noise / 10


@pytest.mark.parametrize(
    ("x", "y"),
    [
        pytest.param(np.random.default_rng(0).random((9, 2)), np.zeros(9), id="all values equal"),
        pytest.param(np.repeat([[0.1, 0.4]], 6, axis=0), np.array([1.0, -1, 1, -1, 1, -1]), id="one place, two values"),
        pytest.param(np.array([[0.3, 0.7]]), np.zeros(1), id="one observation"),
        pytest.param(np.linspace(0, 1, 8)[:, None], np.linspace(-1, 1, 8), id="one dimension"),
        pytest.param(np.zeros((4, 0)), np.array([1.0, -1, 1, -1]), id="no dimension"),
        pytest.param(np.tile([0.5, 0.5], (3, 1)), np.array([0.0, 0.0, 1e-9]), id="next to nothing"),
    ],
)
def test_poor_data_give_finite_predictions(x: Floats, y: Floats) -> None:
    found = fit(x, y, np.zeros(len(x)))
    places = np.random.default_rng(1).random((5, x.shape[1]))
    mean, deviation = GaussianProcess(found, x, y, np.zeros(len(x))).predict(np.vstack([x, places]))
    assert np.all(np.isfinite(mean))
    assert np.all(deviation > 0)
    assert NOISE_BOUNDS[0] * 0.999 <= found.noise <= NOISE_BOUNDS[1] * 1.001
