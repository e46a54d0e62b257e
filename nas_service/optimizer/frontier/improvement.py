"""Expected hypervolume improvement where some objectives are known exactly and the others are Gaussian.

Everything is minimised here. What no point of the front dominates, up to the reference, is cut into disjoint boxes; in
each box the expected gain is a product over the objectives, because they are independent given the data:

    EHVI(a) = sum over boxes [l, u) of  prod_i E[max(0, u_i - max(y_i, l_i))]

The factor of a known cost c is max(0, u - max(c, l)); that of a Gaussian is psi(u) - psi(l), psi the expected
improvement on a threshold. With one Gaussian quality and one cost this is the integral of EI over the staircase. The
cutting into boxes: Yang, Emmerich, Deutz and Baeck, 2019 (arXiv 1904.12672).

n: candidates, m: objectives, N: boxes.
"""

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import qmc

from nas_service.domain.front import Points, non_dominated

MAX_EXACT = 3  # objectives; with more the boxes are too many, and their union is sampled
SAMPLES = 4096  # points that stand for the region beyond the front with more objectives
ROWS_AT_ONCE = 2_000_000  # of numbers in one step, to bound the memory

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Beliefs:
    """What is believed of the candidates' objectives, all minimised: known ones have a deviation of 0."""

    mean: Points  # (n, m)
    deviation: Points  # (n, m), standard deviations


def expected_improvement(beliefs: Beliefs, front: Points, reference: Floats, seed: int = 0) -> Floats:
    """Expected gain in hypervolume of each candidate (n,), up to `reference` (m,).

    Args:
        beliefs: of the candidates.
        front: points reached so far (k, m), dominated ones and ones beyond the reference may be among them.
        reference: the worst values that count.
        seed: of the sampling with more than `MAX_EXACT` objectives.
    """
    inside = front[np.all(front < reference, axis=1)]
    front = np.unique(inside[non_dominated(inside)], axis=0)
    if len(reference) > MAX_EXACT:
        return _sampled(beliefs, front, reference, seed)
    lower, upper = boxes_beyond(front, reference)
    n, size = len(beliefs.mean), max(1, ROWS_AT_ONCE // len(lower))
    parts = [
        _over_boxes(beliefs.mean[start : start + size], beliefs.deviation[start : start + size], lower, upper)
        for start in range(0, n, size)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def boxes_beyond(front: Points, reference: Floats) -> tuple[Points, Points]:
    """Cut what the front (k, m) leaves below `reference` (m,) into disjoint boxes.

    Args:
        front: mutually non-dominated points, all below the reference, without repetition.
        reference: the worst values that count.

    Returns:
        Lower and upper corners, (N, m) each; lower corners may be minus infinity. N <= k + 1 with two objectives,
        2 k + 1 with three.
    """
    m = len(reference)
    if m == 1:
        top = front.min() if len(front) else reference[0]
        return np.full((1, 1), -np.inf), np.full((1, 1), top)
    if m == 2:
        ordered = front[np.argsort(front[:, 0])]
        lower = np.column_stack([np.append(-np.inf, ordered[:, 0]), np.full(len(front) + 1, -np.inf)])
        upper = np.column_stack([np.append(ordered[:, 0], reference[0]), np.append(reference[1], ordered[:, 1])])
        return lower, upper
    return _swept(front[np.argsort(front[:, -1], kind="stable")], reference)


def _swept(front: Points, reference: Floats) -> tuple[Points, Points]:
    """Boxes of a front sorted by its last of three objectives.

    Up to each level of that objective the points passed leave strips of the other two: from x to the next strip, below
    y. A new point closes what it cuts off, so there are at most 2 k + 1 boxes.
    """
    x, y, since = [-np.inf], [float(reference[1])], [-np.inf]  # of the open strips, from left to right
    rows: list[tuple[float, ...]] = []
    for at, height, level in [*front.tolist(), (-np.inf, -np.inf, float(reference[2]))]:
        first = max(0, bisect_right(x, at) - 1)  # the strip that the point lies in
        end = first
        while end < len(x) and y[end] > height:
            right = x[end + 1] if end + 1 < len(x) else reference[0]
            if since[end] < level:
                rows.append((max(x[end], at), -np.inf, since[end], right, y[end], level))
            end += 1
        kept = int(x[first] < at)  # the strip's left part stays open
        x[first + kept : end], y[first + kept : end], since[first + kept : end] = [at], [height], [level]
    boxes = np.array(rows)
    return boxes[:, :3], boxes[:, 3:]


def _over_boxes(mean: Points, deviation: Points, lower: Points, upper: Points) -> Floats:
    product = np.ones((len(mean), len(lower)))
    for i in range(mean.shape[1]):
        gain = _gain_below(upper[:, i], mean[:, i], deviation[:, i])  # (n, N)
        finite = np.isfinite(lower[:, i])
        gain[:, finite] -= _gain_below(lower[finite, i], mean[:, i], deviation[:, i])
        product *= gain.clip(min=0)
    gains: Floats = product.sum(axis=1)
    return gains


def _gain_below(thresholds: Floats, mean: Floats, deviation: Floats) -> Points:
    """E[max(0, t - y)] for each candidate and threshold t: (n, N)."""
    distinct, back = np.unique(thresholds, return_inverse=True)
    gap = distinct[None, :] - mean[:, None]  # (n, distinct)
    if not np.any(deviation):
        exact: Points = gap.clip(min=0)[:, back]
        return exact
    spread = np.maximum(deviation, 1e-300)[:, None]
    z = gap / spread
    gain = gap * ndtr(z) + spread * np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    expected: Points = gain.clip(min=0)[:, back]
    return expected


def _sampled(beliefs: Beliefs, front: Points, reference: Floats, seed: int) -> Floats:
    """The same expectation by quasi-Monte Carlo over the region: the volume times the mean chance to reach a point."""
    m = len(reference)
    corners = np.vstack([front, beliefs.mean - 3 * beliefs.deviation, reference - 1e-9])
    lowest = np.minimum(corners.min(axis=0), reference - 1e-9)
    unit = qmc.Sobol(m, seed=np.random.default_rng(seed)).random(SAMPLES)
    places = lowest + unit * (reference - lowest)  # (S, m)
    if len(front):
        places = places[~np.any(np.all(front[:, None] <= places, axis=2), axis=0)]
    chance = np.ones((len(beliefs.mean), len(places)))
    for i in range(m):
        gap = places[None, :, i] - beliefs.mean[:, i, None]
        known = beliefs.deviation[:, i, None] == 0
        chance *= np.where(known, gap >= 0, ndtr(gap / np.where(known, 1, beliefs.deviation[:, i, None])))
    return np.asarray(chance.sum(axis=1) / SAMPLES * np.prod(reference - lowest))
