"""Arm against arm at a grid of budgets: how good is what each arm's search selects there, and how sure is that?

The estimand is the noise-free quality of the very shape that the search selects at a budget. Fresh seeds estimate it
without bias. Where there are none, the seeds that the shape was selected by have to do: then the winner's curse widens
the interval, so that a claim holds with it and without it. A winner by one cost may lose by another, so each cost is a
contest of its own; nothing is pooled over tasks.

Qualities are "larger is better": the caller turns others round. g: budgets, k: shapes that either arm selects.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from nas_service.analysis.estimates import Estimate, Estimator, Sum
from nas_service.analysis.noise import SeedNoise, Variance
from nas_service.analysis.selection import NONE, Floats, Selection, Shape

LEVEL = 0.95


class Word(StrEnum):
    """What a difference says of the first arm."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "undecided"
    NO_INTERVAL = "no seed interval"  # nothing is known of the noise of seeds
    ALONE = "alone"  # only one of the arms has a shape that costs so little


@dataclass(frozen=True)
class Chosen:
    """What an arm's search selects at one budget."""

    shape: Shape
    quality: Estimate
    curse: float  # by how much the winner's curse may flatter it; 0 with fresh seeds


@dataclass(frozen=True)
class Difference:
    """Both arms at one budget, the first minus the second."""

    budget: float
    first: Chosen | None  # None where no shape costs so little
    second: Chosen | None
    quality: Estimate | None
    family: Estimate | None  # with the interval that holds at all budgets of the grid at once
    word: Word
    family_word: Word


@dataclass(frozen=True)
class Contest:
    """Two arms against each other on one cost."""

    differences: tuple[Difference, ...]
    hypervolumes: tuple[Estimate, Estimate]  # of each arm, in the quality's unit times log10 of the cost
    hypervolume: Estimate  # the first minus the second
    hypervolume_word: Word
    noise: Variance | None  # of one seed, as the shapes have it in common
    noise_shapes: int  # with several seeds, which it was learned from


def contest(
    first: Sequence[Shape],
    second: Sequence[Shape],
    budgets: Floats,
    reference: tuple[float, float],
    level: float = LEVEL,
) -> Contest:
    """Hold two arms against each other.

    Args:
        first: the shapes of one arm, at least one.
        second: of the other.
        budgets: costs at which they are compared, rising (g,).
        reference: the largest cost and the worst quality that count in the hypervolume.
        level: of each interval, and of all intervals of the grid together.
    """
    steps = np.unique([shape.cost for shape in (*first, *second) if shape.cost < reference[0]])
    both = _Both((Selection(first), Selection(second)), np.concatenate([budgets, steps]))
    lengths = np.diff(np.log10(np.append(steps, reference[0])))
    volumes = [both.volume(side, len(budgets), lengths, reference[1]) for side in (0, 1)]
    gap = both.estimator.estimate(volumes[0].plus(volumes[1], times=-1), level)
    return Contest(
        differences=_differences(both, budgets, level),
        hypervolumes=(both.estimator.estimate(volumes[0], level), both.estimator.estimate(volumes[1], level)),
        hypervolume=gap,
        hypervolume_word=_word(gap),
        noise=both.noise.prior if both.noise else None,
        noise_shapes=both.noise.shapes if both.noise else 0,
    )


def budget_grid(arms: Sequence[Sequence[Shape]], count: int = 12) -> Floats:
    """Log-spaced budgets (count,): from the least that every arm has a shape for to the largest cost of all."""
    low = max(min(shape.cost for shape in shapes) for shapes in arms)
    high = max(max(shape.cost for shape in shapes) for shapes in arms)
    return np.geomspace(low, high, count)


class _Both:
    """What both arms select at some budgets, as sums of the selected shapes' qualities."""

    def __init__(self, arms: tuple[Selection, Selection], budgets: Floats) -> None:
        self._arms = arms
        self.chosen = [arm.at(budgets) for arm in arms]  # per arm: (budgets,)
        picked = [np.unique(places[places != NONE]) for places in self.chosen]
        self.shapes = [arm.shapes[place] for arm, places in zip(arms, picked, strict=True) for place in places]
        self._columns = [
            {int(place): column for column, place in enumerate(places, start=start)}
            for places, start in zip(picked, (0, len(picked[0])), strict=True)
        ]
        self.noise = _noise(self.shapes, arms)
        self.estimator = Estimator([shape.seeds for shape in self.shapes], self.noise)
        self.curses = [self._curse(arm, budgets) for arm in arms]

    def shape(self, side: int, at: int) -> Shape | None:
        """What the arm selects at the budget of that place."""
        place = int(self.chosen[side][at])
        return None if place == NONE else self._arms[side].shapes[place]

    def curse(self, side: int, at: int) -> float:
        """The winner's curse of what the arm selects there."""
        shape = self.shape(side, at)
        return 0.0 if shape is None or shape.is_fresh else float(self.curses[side][at])

    def quality(self, side: int, at: int) -> Sum:
        """The quality of what the arm selects there."""
        weights = np.zeros(len(self.shapes))
        weights[self._columns[side][int(self.chosen[side][at])]] = 1.0
        return Sum(weights, flattery=(self.curse(side, at), 0.0))

    def volume(self, side: int, start: int, lengths: Floats, worst: float) -> Sum:
        """The area between the arm's qualities at the budgets from `start` on and the worst that counts."""
        total = Sum(np.zeros(len(self.shapes)))
        for at, length in enumerate(lengths, start=start):
            shape = self.shape(side, at)
            if shape is not None and np.mean(shape.seeds) > worst:
                total = total.plus(self.quality(side, at)._replace(offset=-worst), times=length)
        return total

    def _curse(self, arm: Selection, budgets: Floats) -> Floats:
        if self.noise is None or all(shape.is_fresh for shape in arm.shapes):
            return np.zeros(len(budgets))
        return arm.curse(budgets, self.noise)


def _noise(selected: Sequence[Shape], arms: Sequence[Selection]) -> SeedNoise | None:
    """From the selected shapes; where they do not suffice, from all of both arms.

    Shapes far behind a front are often noisier, for a learning rate that is too high say.
    """
    for shapes in (selected, [shape for arm in arms for shape in arm.shapes]):
        several = [shape.seeds for shape in shapes if len(shape.seeds) > 1]
        if several and (noise := SeedNoise(several)).is_enough:
            return noise
    return None


def _differences(both: _Both, budgets: Floats, level: float) -> tuple[Difference, ...]:
    shared = [at for at in range(len(budgets)) if both.shape(0, at) and both.shape(1, at)]
    gaps = {at: both.quality(0, at).plus(both.quality(1, at), times=-1) for at in shared}
    critical = both.estimator.critical_of_family(list(gaps.values()), level) if both.noise and gaps else None
    found = []
    for at, budget in enumerate(budgets):
        quality = both.estimator.estimate(gaps[at], level) if at in gaps else None
        family = both.estimator.estimate(gaps[at], level, critical) if at in gaps else None
        found.append(
            Difference(
                budget=float(budget),
                first=_chosen(both, 0, at, level),
                second=_chosen(both, 1, at, level),
                quality=quality,
                family=family,
                word=_word(quality),
                family_word=_word(family),
            )
        )
    return tuple(found)


def _chosen(both: _Both, side: int, at: int, level: float) -> Chosen | None:
    shape = both.shape(side, at)
    if shape is None:
        return None
    return Chosen(shape, both.estimator.estimate(both.quality(side, at), level), both.curse(side, at))


def _word(gap: Estimate | None) -> Word:
    if gap is None:
        return Word.ALONE
    if gap.sign is None:
        return Word.NO_INTERVAL
    return {1: Word.BETTER, -1: Word.WORSE, 0: Word.UNDECIDED}[gap.sign]
