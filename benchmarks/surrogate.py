"""A smooth stand-in for training: the PSNR of a network, fitted to a table of published runs, and its dense front.

The fit is a thin-plate spline over the logarithms of sizes and learning rate, so nothing of a sampler's own Gaussian
process is in it. Inside the box of the table it answers everywhere, also where nobody trained. Costs are told as log10,
as the service tells them.

x: configurations (n, 4), columns d_z, d_h, depth, lr; m: objectives, the costs (minimised), then the PSNR (maximised).
"""

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from scipy.interpolate import RBFInterpolator

from benchmarks.published_table import Configuration
from nas_service.domain.architecture import Family
from nas_service.domain.front import Points, hypervolume, non_dominated
from nas_service.domain.published import published_arm

SMOOTHING = 1e-3  # of the spline: leaves about the noise of seeds
REFERENCE_QUANTILE = 0.3  # of the table's PSNR: what is worse does not count
# A made-up latency of one example on a GPU, as a second known cost: it counts depth, which weights alone do not.
LAUNCH_US, WEIGHTS_PER_US = 5.0, 500_000.0

FIRST_DRAWS, MOVES, ROUNDS = 10_000, 1_000, 30  # of the search for the dense front
STEPS = (0.2, 0.1, 0.05, 0.02, 0.01)  # of its moves, in turn, as shares of the box's side

Floats = NDArray[np.float64]
Number = TypeVar("Number", float, Floats)


class Surrogate:
    """The box of one arm under one budget, and what its networks cost and reach."""

    def __init__(self, rows: Sequence[Configuration], known_costs: int = 1) -> None:
        """Fit.

        Args:
            rows: configurations of one arm and budget.
            known_costs: 1 for weights, 2 for latency as well.

        Raises:
            ValueError: when the rows do not span their box, or their counts of weights are not those of one arm.
        """
        x = np.array([(row.d_z, row.d_h, row.depth, row.lr) for row in rows], dtype=np.float64)
        self.psnr_db = np.array([row.mean_psnr_db for row in rows])
        self.low, self.high = x.min(axis=0), x.max(axis=0)
        self._free = self.low < self.high
        self._is_hourglass = published_arm(rows[0].arm).family is Family.HOURGLASS
        self._beside_blocks = _weights_beside_blocks(rows)
        self._costs = [self.parameters, self.latency_us][:known_costs]
        try:
            self._spline = RBFInterpolator(
                self._unit(x)[:, self._free], self.psnr_db, kernel="thin_plate_spline", smoothing=SMOOTHING
            )
        except (ValueError, np.linalg.LinAlgError) as error:
            raise ValueError(f"{len(rows)} rows are too few for a surrogate of their box: {error}") from error
        self.residual_db = float(np.sqrt(np.mean((self.psnr(x) - self.psnr_db) ** 2)))
        self.reference = np.array(  # (m,), as told
            [*self.costs(*x.T[:3]).max(axis=-1), np.quantile(self.psnr_db, REFERENCE_QUANTILE)]
        )

    @property
    def directions(self) -> list[str]:
        """Of the study."""
        return ["minimize"] * len(self._costs) + ["maximize"]

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Of the study; a size that the table never varies is a single value."""
        low, high = self.low.tolist(), self.high.tolist()
        sizes = [IntDistribution(int(low[column]), int(high[column]), log=True) for column in range(3)]
        lr = FloatDistribution(low[3], high[3], log=True)
        return dict(zip(("d_z", "d_h", "depth", "lr"), [*sizes, lr], strict=True))

    def parameters(self, d_z: Number, d_h: Number, depth: Number) -> Number:
        """Trained weights."""
        return d_z * (self._beside_blocks + 2 * d_h * depth)

    def latency_us(self, d_z: Number, d_h: Number, depth: Number) -> Number:
        """Microseconds: a launch for each matrix, then all weights once through the memory."""
        return LAUNCH_US * (2 * depth + 2) + self.parameters(d_z, d_h, depth) / WEIGHTS_PER_US

    def cost(self, index: int, d_z: float, d_h: float, depth: float) -> float:
        """One known cost as told."""
        return math.log10(self._costs[index](d_z, d_h, depth))

    def costs(self, d_z: Number, d_h: Number, depth: Number) -> Floats:
        """Known costs as told, (m - 1,) or (m - 1, n)."""
        return np.log10([cost(d_z, d_h, depth) for cost in self._costs])

    def violation(self, d_z: Number, d_h: Number) -> Number:
        """Above 0 where the sizes are not of the arm's family."""
        return (d_h + 1 - d_z) / d_z if self._is_hourglass else (d_z + 1 - d_h) / d_z

    def psnr(self, x: Floats) -> Floats:
        """What networks would reach (n,), in dB."""
        return np.asarray(self._spline(self._unit(x)[:, self._free]))

    def values(self, x: Floats) -> Floats:
        """Objectives as told (n, m)."""
        return np.column_stack([self.costs(*x.T[:3]).T, self.psnr(x)])

    def hypervolume(self, values: Floats) -> float:
        """Of objectives as told (n, m), up to the reference."""
        return hypervolume(minimised(values), minimised(self.reference))

    def draw(self, count: int, rng: np.random.Generator) -> Floats:
        """Those of so many random configurations that are legal."""
        return self._legal(rng.random((count, 4)))

    def moved(self, x: Floats, step: float, rng: np.random.Generator) -> Floats:
        """Those that are legal after a Gaussian step in about half of the columns."""
        steps = step * rng.standard_normal(x.shape) * (rng.random(x.shape) < 0.5)
        return self._legal((self._unit(x) + steps).clip(0, 1))

    def _unit(self, x: Floats) -> Floats:
        """Places in the box on logarithmic axes (n, 4), 0 to 1."""
        extent = np.where(self._free, np.log(self.high / self.low), 1.0)
        return np.asarray(np.log(x / self.low) / extent)

    def _legal(self, places: Floats) -> Floats:
        x = self.low * (self.high / self.low) ** places
        x[:, :3] = np.round(x[:, :3])
        return x[self.violation(x[:, 0], x[:, 1]) <= 0]


class DenseFront:
    """The best that any sampler could find: the surrogate's front by an evolutionary search, twice."""

    def __init__(self, surrogate: Surrogate) -> None:
        """Search."""
        fronts = [_evolved(surrogate, np.random.default_rng(seed)) for seed in (0, 1)]
        self.x = np.vstack(fronts)
        self.volume = surrogate.hypervolume(surrogate.values(self.x))
        found = [surrogate.hypervolume(surrogate.values(x)) for x in fronts]
        self.difference = abs(found[1] - found[0]) / self.volume  # between the two searches, relative


def minimised(values: Floats) -> Points:
    """Objectives as told (..., m) as points to be minimised."""
    return np.asarray(np.concatenate([values[..., :-1], -values[..., -1:]], axis=-1))


def _evolved(surrogate: Surrogate, rng: np.random.Generator) -> Floats:
    x = surrogate.draw(FIRST_DRAWS, rng)
    x, values = _best(surrogate, x, surrogate.values(x))
    for step in _in_turn(STEPS, ROUNDS):
        children = surrogate.moved(rng.choice(x, size=MOVES), step, rng)
        x, values = _best(surrogate, np.vstack([x, children]), np.vstack([values, surrogate.values(children)]))
    return x


def _best(surrogate: Surrogate, x: Floats, values: Floats) -> tuple[Floats, Floats]:
    """Those within the reference that none of the others dominates."""
    points = minimised(values)
    within = np.all(points < minimised(surrogate.reference), axis=1)
    x, values, points = x[within], values[within], points[within]
    best = non_dominated(points)
    return x[best], values[best]


def _in_turn(items: Sequence[float], count: int) -> Iterator[float]:
    return (items[number % len(items)] for number in range(count))


def _weights_beside_blocks(rows: Sequence[Configuration]) -> int:
    """Weights of the projections for each unit of d_z."""
    found = {(row.params - 2 * row.d_z * row.d_h * row.depth) / row.d_z for row in rows}
    if len(found) != 1 or not (beside := found.pop()).is_integer():
        raise ValueError(f"the weights of {rows[0].arm} are not d_z (a + 2 d_h depth) with one whole a in every row")
    return int(beside)
