"""The same sizes in two arms, trained in both: what the difference between the arms' projections makes, shape by shape.

Each arm stands with its best learning rate at that shape, so it is as well tuned as the search tuned it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nas_service.analysis.estimates import Estimate, Estimator, Sum
from nas_service.analysis.noise import SeedNoise
from nas_service.domain.architecture import Architecture

LEVEL = 0.95
Sizes = tuple[int, int, int]


@dataclass(frozen=True)
class Trained:
    """One architecture and learning rate as it was trained, "larger is better"."""

    architecture: Architecture
    seeds: tuple[float, ...]  # qualities
    costs: dict[str, float]  # known and measured ones, by name


@dataclass(frozen=True)
class Pair:
    """The first arm minus the second one at a shape."""

    sizes: Sizes  # d_z, d_h, depth
    quality: Estimate
    ratios: dict[str, float]  # the first arm's cost over the second's, by name


def pairs(first: Sequence[Trained], second: Sequence[Trained]) -> list[Pair]:
    """What both arms have trained, by size; the noise of seeds is taken from all these shapes together."""
    ours, theirs = _best_by_sizes(first), _best_by_sizes(second)
    shared = sorted(ours.keys() & theirs.keys())
    both = [arm[sizes] for sizes in shared for arm in (ours, theirs)]
    several = [one.seeds for one in both if len(one.seeds) > 1]
    noise = SeedNoise(several) if several else None
    estimator = Estimator([one.seeds for one in both], noise if noise and noise.is_enough else None)
    return [
        Pair(sizes, estimator.estimate(_gap(place, len(both)), LEVEL), _ratios(ours[sizes], theirs[sizes]))
        for place, sizes in enumerate(shared)
    ]


def _best_by_sizes(trained: Sequence[Trained]) -> dict[Sizes, Trained]:
    best: dict[Sizes, Trained] = {}
    for one in trained:
        sizes = one.architecture.d_z, one.architecture.d_h, one.architecture.depth
        if sizes not in best or np.mean(one.seeds) > np.mean(best[sizes].seeds):
            best[sizes] = one
    return best


def _gap(place: int, count: int) -> Sum:
    weights = np.zeros(count)
    weights[2 * place : 2 * place + 2] = 1.0, -1.0
    return Sum(weights)


def _ratios(ours: Trained, theirs: Trained) -> dict[str, float]:
    return {name: ours.costs[name] / theirs.costs[name] for name in ours.costs if theirs.costs.get(name)}
