"""How the shapes of a front move with the budget: power laws, fitted robustly, and what they say of other budgets.

Each quantity is a line on log-log axes: the median of all pairwise slopes (Theil, 1950; Sen, 1968), whose interval
comes from the same slopes. A front has few points and they hang together, so the intervals are those of a description,
not of an experiment; a recommended shape is there to be trained.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, hypot, log

import numpy as np
from scipy.stats import norm, theilslopes

from nas_service.analysis.estimates import Estimate
from nas_service.domain.architecture import Architecture, Family, TaskShape, projection_fault
from nas_service.domain.arm import Arm
from nas_service.domain.costs import known_costs

LEVEL = 0.95
LEAST_POINTS = 5  # of different costs
QUANTITIES = ("d_z", "d_h", "d_h / d_z", "depth", "lr")
MAD_TO_DEVIATION = 1.4826  # of a normal number
LEAST_SCALE, MOST_SCALE = 1e-3, 1e3  # of the widths that a fit says, to meet a budget
HALVINGS = 60


@dataclass(frozen=True)
class FrontShape:
    """A shape on an arm's front."""

    cost: float
    architecture: Architecture
    lr: float

    def quantity(self, name: str) -> float:
        """One of QUANTITIES."""
        shape = self.architecture
        own = {"d_h / d_z": shape.d_h / shape.d_z, "lr": self.lr}
        return own[name] if name in own else float(getattr(shape, name))


@dataclass(frozen=True)
class PowerLaw:
    """quantity = factor * cost**exponent."""

    quantity: str
    exponent: Estimate
    points: int  # that it was fitted to
    centre: tuple[float, float]  # medians of log cost and log quantity; the line goes through them
    deviation: float  # robust standard deviation of the log quantity around the line

    def at(self, cost: float) -> Estimate:
        """What the fit says of another cost: the line, with its slope's interval and the spread around it."""
        away = log(cost) - self.centre[0]
        slopes = sorted(slope * away for slope in self.exponent.bounds)
        spread = float(norm.ppf(0.5 + LEVEL / 2)) * self.deviation
        middle = self.centre[1] + self.exponent.value * away
        return Estimate(exp(middle), exp(self.centre[1] + slopes[0] - spread), exp(self.centre[1] + slopes[1] + spread))


def power_laws(front: Sequence[FrontShape]) -> dict[str, PowerLaw]:
    """The law of each quantity; none where the front has too few points."""
    if len({shape.cost for shape in front}) < LEAST_POINTS:
        return {}
    return {name: _power_law(name, front) for name in QUANTITIES}


def exponent_difference(first: PowerLaw, second: PowerLaw) -> Estimate:
    """The first exponent minus the second, with an interval made of theirs (Zou and Donner, 2008)."""
    one, other = first.exponent, second.exponent
    (low, high), (other_low, other_high) = one.bounds, other.bounds
    gap = one.value - other.value
    below = hypot(one.value - low, other_high - other.value)
    above = hypot(high - one.value, other.value - other_low)
    return Estimate(gap, gap - below, gap + above)


def recommend(arm: Arm, laws: dict[str, PowerLaw], task: TaskShape, cost_name: str, budget: float) -> Architecture:
    """The shape that the laws say for a budget: their depth, and their widths scaled until the budget is spent.

    Widths that the arm fixes stay; others may lie outside of the arm's ranges, which were those of other budgets.

    Raises:
        ValueError: when even the smallest widths cost more, or there are no laws.
    """
    if not laws:
        raise ValueError(f"a front of at least {LEAST_POINTS} costs is needed to say anything of other budgets")
    depth = max(1, round(laws["depth"].at(budget).value))
    widths = laws["d_z"].at(budget).value, laws["d_h"].at(budget).value
    low, high = log(LEAST_SCALE), log(MOST_SCALE)
    found = None
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        shape = _scaled(arm, widths, depth, exp(middle), task)
        if getattr(known_costs(shape, task), cost_name) <= budget:
            found, low = shape, middle
        else:
            high = middle
    if found is None:
        raise ValueError(f"no shape of this arm with depth {depth} costs {budget:g} {cost_name} or less")
    return found


def _power_law(name: str, front: Sequence[FrontShape]) -> PowerLaw:
    costs = np.log([shape.cost for shape in front])
    values = np.log([shape.quantity(name) for shape in front])
    if np.ptp(values) == 0:  # the arm fixes it
        slope = low = high = 0.0
    else:
        slope, _, low, high = (float(number) for number in theilslopes(values, costs, LEVEL))
    residuals = values - slope * costs
    middle = float(np.median(costs))
    centre = middle, float(np.median(residuals)) + slope * middle
    deviation = MAD_TO_DEVIATION * float(np.median(np.abs(residuals - np.median(residuals))))
    return PowerLaw(name, Estimate(slope, low, high), len(front), centre, deviation)


def _scaled(arm: Arm, widths: tuple[float, float], depth: int, scale: float, task: TaskShape) -> Architecture:
    """The legal shape of the arm nearest to these widths times the scale."""
    lowest, highest = arm.d_z_range
    d_z = lowest if lowest == highest else max(2, round(widths[0] * scale))
    if projection_fault(arm.w_in, arm.w_out, d_z, task) is not None:
        d_z = task.d_x  # legal for all that need no less, or just that
    d_h = max(1, round(widths[1] * scale))
    d_h = min(d_h, d_z - 1) if arm.family is Family.HOURGLASS else max(d_h, d_z + 1)
    return arm.architecture(d_z, d_h, depth)
