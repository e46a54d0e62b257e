"""What is believed of configurations that were not trained: unknown objectives, and the chance to count at all.

Each unknown objective has a Gaussian process of its own. Running trials are taken as if they had reached what is
expected of them (the "kriging believer" of Ginsbourger, Le Riche and Carraro, 2010): it keeps parallel trials apart and
needs no random numbers.

n: observations, D: features, m: objectives, q: candidates.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from nas_service.domain.front import Points
from nas_service.optimizer.frontier.branches import Integers
from nas_service.optimizer.frontier.encoding import Floats
from nas_service.optimizer.frontier.gaussian_process import GaussianProcess, Hyperparameters, fit

FIT_GROWTH = 1.1  # hyperparameters are found anew when the observations have grown by this factor
MAX_FITTED = 256  # observations that hyperparameters are found from
MAX_OBSERVED = 640  # observations that predictions are made from: those near the front, and an even share of the others
# Values worse than the reference by this many times its distance from the best are taken as just so bad; the better
# half of the values stays as it is.
TAIL = 2.0


@dataclass(frozen=True)
class Observations:
    """Finished trials in number order."""

    features: Floats  # (n, D)
    values: Floats  # (n,), of one unknown number, minimised
    noise: Floats  # (n,), known variance of each value

    def at(self, places: Integers) -> "Observations":
        """Those at some places."""
        return Observations(self.features[places], self.values[places], self.noise[places])


class Fits:
    """Hyperparameters found before, by what they were found from: remembered only to save time."""

    def __init__(self, capacity: int = 16) -> None:
        self._held: OrderedDict[bytes, Hyperparameters] = OrderedDict()
        self._capacity = capacity

    def of(self, x: Floats, y: Floats, noise: Floats) -> Hyperparameters:
        """The hyperparameters for standardised observations, see `gaussian_process.fit`."""
        key = b"".join(np.ascontiguousarray(part).tobytes() for part in (x, y, noise))
        found = self._held.pop(key, None) or fit(x, y, noise)  # no step of which another thread could spoil
        self._held[key] = found
        if len(self._held) > self._capacity:
            self._held.popitem(last=False)
        return found


class Belief:
    """A Gaussian process of one unknown number, in the number's own unit."""

    def __init__(self, fits: Fits, observed: Observations, gap: Floats, origin: float | None = None) -> None:
        """Learn from observations.

        Args:
            fits: found before.
            observed: finished trials.
            gap: how far each of them is behind the front (n,); with many, those near it are kept.
            origin: what is believed far away from all observations; None for their mean.
        """
        early = _schedule(len(observed.values))
        start = observed.at(near_and_spread(gap[:early], MAX_FITTED))
        self._origin = float(start.values.mean()) if origin is None else origin
        self._unit = float(np.sqrt(np.mean((start.values - self._origin) ** 2))) or 1.0
        self._hyperparameters = fits.of(start.features, self._standardised(start), start.noise / self._unit**2)
        self._observed = observed.at(near_and_spread(gap, MAX_OBSERVED))
        self._process = self._condition(self._observed)

    def mean(self, features: Floats) -> Floats:
        """Expected values at (q, D): (q,)."""
        return self._process.mean(features) * self._unit + self._origin

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """Expected values and standard deviations at (q, D): (q,), (q,)."""
        mean, deviation = self._process.predict(features)
        return mean * self._unit + self._origin, deviation * self._unit

    def foresee(self, features: Floats) -> tuple[Floats, Floats]:
        """Expected values at (q, D), and the standard deviation of what a trial there would make of them: (q,), (q,).

        The second is below the deviation of the number itself where trials are noisy: one more of many trials at a
        place would hardly move what is expected there (the knowledge gradient of Frazier, Powell and Dayanik, 2009).
        Without it a sampler tries its best place again and again.
        """
        mean, deviation = self.predict(features)
        noise = self._hyperparameters.noise * self._unit**2 + self._observed.noise.mean()
        return mean, deviation**2 / np.sqrt(deviation**2 + noise)

    def believe(self, features: Floats) -> Floats:
        """Take the expected values at (q, D) as observed from now on, and give them (q,)."""
        values = self.mean(features)
        if not len(values):
            return values  # what was learned stays as it is
        held = self._observed
        self._observed = Observations(
            np.vstack([held.features, features]),
            np.concatenate([held.values, values]),
            np.concatenate([held.noise, np.zeros(len(values))]),
        )
        self._process = self._condition(self._observed)
        return values

    def _standardised(self, observed: Observations) -> Floats:
        return (observed.values - self._origin) / self._unit

    def _condition(self, observed: Observations) -> GaussianProcess:
        noise = observed.noise / self._unit**2
        return GaussianProcess(self._hyperparameters, observed.features, self._standardised(observed), noise)


class Chance:
    """The probability that a number, of which some values are known, is not above 0."""

    def __init__(self, fits: Fits, features: Floats, values: Floats, origin: float | None = None) -> None:
        """Learn from observations (n, D), (n,).

        Far from all of them the number is believed to be `origin`; None for their mean.
        """
        noise = np.zeros(len(values))
        self._belief = Belief(fits, Observations(features, values, noise), gap=np.zeros(len(values)), origin=origin)

    def __call__(self, features: Floats, more: Floats | float = 0.0) -> Floats:
        """At places (q, D), of the number and `more` (q,): (q,)."""
        mean, deviation = self._belief.predict(features)
        return np.asarray(ndtr(-(mean + more) / deviation))


def behind_front(points: Points, front: Points) -> Floats:
    """By how much each point (n, m) would have to be better in every objective to be on the front (k, m): (n,).

    Objectives count in units of the front's extent.
    """
    extent = np.ptp(front, axis=0)
    extent[extent == 0] = 1.0
    gaps = np.full((len(points), len(front)), np.inf)  # one objective after the other: (n, k, m) would be slow
    for column, places in zip((points / extent).T, (front / extent).T, strict=True):
        np.minimum(gaps, column[:, None] - places[None, :], out=gaps)
    return np.asarray(gaps.max(axis=1).clip(min=0))


def without_tail(values: Floats, reference: float) -> Floats:
    """Values (n,), minimised, of which far too bad ones would otherwise rule the fit."""
    best, middle = float(values.min()), float(np.median(values))
    return np.minimum(values, max(reference + TAIL * (reference - best), middle))


def _schedule(count: int) -> int:
    """How many of the first `count` observations the hyperparameters are found from: a function of `count` alone."""
    early = 1
    while (later := max(early + 1, int(early * FIT_GROWTH))) <= count:
        early = later
    return early


def near_and_spread(gap: Floats, most: int) -> Integers:
    """At most so many places: half of them with the least gap, half evenly spread, in order."""
    if len(gap) <= most:
        return np.arange(len(gap))
    nearest = np.argsort(gap, kind="stable")[: most // 2]
    others = np.setdiff1d(np.arange(len(gap)), nearest)
    spread = others[np.linspace(0, len(others) - 1, most - len(nearest)).astype(int)]
    return np.union1d(nearest, spread)
