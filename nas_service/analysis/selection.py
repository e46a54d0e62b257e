"""What an arm's search selects at a budget, and by how much its measured quality flatters it.

Selected is the shape with the best measured quality that costs no more than the budget. The best of many noisy numbers
is too good on average (the winner's curse): by how much is found by drawing the noise anew and selecting again.

n: shapes, g: budgets. Qualities are "larger is better".
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_service.analysis.noise import SeedNoise

Floats = NDArray[np.float64]
Integers = NDArray[np.intp]

NONE = -1  # in place of a shape where none costs so little
DRAWS = 2000  # of noise; seeded, so the answer is a function of the shapes
REPEATS = 20  # of the selection from noisier qualities
MOST_FACTOR = 2.0  # by which these may raise the curse
BATCH = 1_000_000  # numbers drawn at once


@dataclass(frozen=True)
class Shape:
    """One architecture and learning rate of an arm, with what a verdict needs of it."""

    name: str
    cost: float
    measured: float  # the mean over the search's own seeds, by which it is selected
    own_seeds: int  # how many those are
    seeds: tuple[float, ...]  # qualities by which it is judged
    is_fresh: bool  # whether these seeds had no part in `measured`


class Selection:
    """An arm's shapes, ready to be selected from."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        """Take an arm's shapes, at least one, in any order."""
        self.shapes = sorted(shapes, key=lambda shape: (shape.cost, -shape.measured))
        self.costs = np.array([shape.cost for shape in self.shapes])
        self._measured = np.array([shape.measured for shape in self.shapes])

    def at(self, budgets: Floats) -> Integers:
        """The place in `shapes` of what is selected at each budget (g,); NONE where nothing is."""
        places: Integers = _best_so_far(self._measured[None, :], self._affordable(budgets))[0]
        return places

    def curse(self, budgets: Floats, noise: SeedNoise) -> Floats:
        """By how much the measured quality of what is selected at each budget is too good on average (g,).

        The measured qualities lie further apart than the true ones, so drawing noise on top of them finds too little.
        How much too little is seen by doing the same to qualities with the noise of two (the iterated bootstrap: Hall,
        1992, "The Bootstrap and Edgeworth Expansion", section 1.4).
        """
        generator = np.random.default_rng(0)
        spread = np.sqrt([noise.prior.value / shape.own_seeds for shape in self.shapes])
        affordable = self._affordable(budgets)
        found = _curse(self._measured, spread, affordable, DRAWS, generator)
        noisier = [self._measured + spread * generator.standard_normal(len(spread)) for _ in range(REPEATS)]
        again = np.mean([_curse(one, spread, affordable, DRAWS // REPEATS, generator) for one in noisier], axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.where(again > 0, found / again, 1.0)
        curses: Floats = np.clip(found, 0.0, None) * np.clip(factor, 1.0, MOST_FACTOR)
        return curses

    def _affordable(self, budgets: Floats) -> Integers:
        """How many of the shapes, cheapest first, cost no more than each budget (g,)."""
        return np.searchsorted(self.costs, budgets, side="right")


def _best_so_far(qualities: Floats, affordable: Integers) -> Integers:
    """The place of the best among the first so many of each row (draws, n): (draws, g)."""
    best = np.maximum.accumulate(qualities, axis=1)
    is_new = np.concatenate([np.ones((len(best), 1), dtype=bool), best[:, 1:] > best[:, :-1]], axis=1)
    places = np.maximum.accumulate(np.where(is_new, np.arange(qualities.shape[1]), 0), axis=1)
    return np.where(affordable > 0, places[:, affordable - 1], NONE)


def _curse(
    measured: Floats, spread: Floats, affordable: Integers, draws: int, generator: np.random.Generator
) -> Floats:
    """The mean error of the best of the first so many, were the qualities (n,) the true ones: (g,)."""
    total, size = np.zeros(len(affordable)), max(1, BATCH // len(measured))
    for begin in range(0, draws, size):
        errors = generator.standard_normal((min(size, draws - begin), len(measured))) * spread
        places = _best_so_far(measured + errors, affordable)
        total += np.where(places == NONE, 0.0, np.take_along_axis(errors, places.clip(0), axis=1)).sum(axis=0)
    return total / draws
