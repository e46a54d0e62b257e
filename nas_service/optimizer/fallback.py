"""Random legal shapes, drawn from the known costs instead of by trial and error.

Every limited cost is  A(d_z) + 2 depth d_z d_h  with A affine in d_z (`domain.costs`), so the widest legal d_h beside
each (d_z, depth) is a division, and the legal shapes can be counted and numbered without being listed.

Legend: Z: skip widths of the arm; P: pairs (d_z, depth) with a legal d_h.
"""

from collections.abc import Callable, Iterator
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from nas_service.domain.architecture import Family
from nas_service.domain.arm import Arm
from nas_service.domain.costs import Costs, known_costs
from nas_service.domain.search import Search
from nas_service.domain.trial import LearningRates
from nas_service.optimizer.space import Candidate, Space, three_digits

Integers = NDArray[np.int64]

MAX_PAIRS = 1_000_000  # pairs that are held at once; of more, evenly spaced ones stand for all
RANDOM_TRIES = 100  # draws before the free candidates are searched one after the other
NO_LIMIT = 2**62
STEPS_PER_DECADE = 900  # learning rates of 3 significant digits between one power of ten and the next


class LegalShapes:
    """The legal shapes of an arm, numbered from 0."""

    def __init__(self, search: Search, arm: Arm, rng: np.random.Generator, at_least: int = 0) -> None:
        """Count the shapes.

        Args:
            search: gives the limits and the task's widths.
            arm: the region.
            rng: chooses the pairs when there are more than `MAX_PAIRS`.
            at_least: number of pairs to hold in any case, as far as there are so many.
        """
        d_z = _skip_widths(search, arm)  # (Z,)
        lowest, highest = _inner_widths(arm, d_z)  # (Z,), (Z,)
        room = _room(search, arm, d_z)  # (Z,)
        shallow, deep = arm.depth_range
        # room // depth >= lowest  is the same as  depth <= room // lowest
        depths = np.where(lowest <= highest, np.minimum(deep, room // lowest) - shallow + 1, 0).clip(min=0)  # (Z,)
        row, step = _pairs(depths, max(MAX_PAIRS, at_least), rng)  # (P,), (P,)
        self._d_z, self._depth, self._lowest = d_z[row], shallow + step, lowest[row]
        widths = np.minimum(highest[row], room[row] // self._depth) - self._lowest + 1  # (P,), each at least 1
        self._ends = np.cumsum(widths)  # (P,)
        self._starts = self._ends - widths

    @property
    def count(self) -> int:
        """How many there are (of the pairs held)."""
        return int(self._ends[-1]) if len(self._ends) else 0

    def __getitem__(self, rank: int) -> tuple[int, int, int]:
        """(d_z, d_h, depth) of the shape with that number."""
        pair = int(np.searchsorted(self._ends, rank, side="right"))
        d_h = int(self._lowest[pair]) + rank - int(self._starts[pair])
        return int(self._d_z[pair]), d_h, int(self._depth[pair])


def draw_legal(
    search: Search, space: Space, seed: int, taken: int, is_free: Callable[[Candidate], bool]
) -> Candidate | None:
    """Draw a legal candidate that was never proposed: shapes uniformly, a searched learning rate log-uniformly.

    Where nearly all are taken it is the first free one after a random place instead.

    Args:
        search: gives the limits and the task's widths.
        space: of the arm.
        seed: of this draw.
        taken: at most so many candidates are not free.
        is_free: whether a candidate was never proposed.

    Returns:
        The candidate, or None exactly when none is left.
    """
    rng = np.random.default_rng(seed)
    shapes = LegalShapes(search, space.arm, rng, at_least=taken + 1)
    if shapes.count == 0:
        return None
    tries = (Candidate(*shapes[int(rng.integers(shapes.count))], _random_lr(space, rng)) for _ in range(RANDOM_TRIES))
    free = next(filter(is_free, tries), None)
    return free or next(filter(is_free, _in_order(space, shapes, rng, taken + 1)), None)


def _in_order(space: Space, shapes: LegalShapes, rng: np.random.Generator, most: int) -> Iterator[Candidate]:
    """Different candidates from a random place on; among `most`, one more than are taken, one is free if any is."""
    rates = _Rates(space)
    total = shapes.count * rates.count
    start = int(rng.integers(total))
    for offset in range(min(total, most)):
        shape, rate = divmod((start + offset) % total, rates.count)
        yield Candidate(*shapes[shape], rates[rate])


class _Rates:
    """The learning rates of an arm at 3 significant digits, numbered from 0."""

    def __init__(self, space: Space) -> None:
        self._constant = space.constant_lr if space.lr_range is None else None
        self._first, last = (_rate_step(lr) for lr in space.lr_range or (1.0, 1.0))
        self.count = last - self._first + 1

    def __getitem__(self, rank: int) -> LearningRates:
        if self._constant is not None:
            return self._constant
        decade, step = divmod(self._first + rank, STEPS_PER_DECADE)
        return float(f"{100 + step}e{decade - 2}")


def _rate_step(lr: float) -> int:
    digits, decade = f"{lr:.2e}".split("e")
    return int(decade) * STEPS_PER_DECADE + round(float(digits) * 100) - 100


def _random_lr(space: Space, rng: np.random.Generator) -> LearningRates:
    if space.lr_range is None:
        return space.constant_lr
    low, high = space.lr_range
    return three_digits(exp(rng.uniform(log(low), log(high))))


def _skip_widths(search: Search, arm: Arm) -> Integers:
    low, high = arm.legal_d_z_range(search.shape)
    if arm.family is Family.HOURGLASS:
        low = max(low, 2)  # nothing is narrower than 1
    return np.arange(low, high + 1, dtype=np.int64)


def _inner_widths(arm: Arm, d_z: Integers) -> tuple[Integers, Integers]:
    """`Arm.d_h_range` of many skip widths at once."""
    if arm.d_h is not None:
        low, high = (np.full_like(d_z, end) for end in _ends(arm.d_h))
    else:
        assert arm.d_h_ratio is not None
        low, high = (np.maximum(1, np.rint(ratio * d_z).astype(np.int64)) for ratio in _ends(arm.d_h_ratio))
    if arm.family is Family.HOURGLASS:
        return low, np.minimum(high, d_z - 1)
    return np.maximum(low, d_z + 1), high


def _ends(given: float | tuple[float, float]) -> tuple[float, float]:
    return given if isinstance(given, tuple) else (given, given)


def _room(search: Search, arm: Arm, d_z: Integers) -> Integers:
    """The largest depth times d_h within the limits, beside each skip width."""
    room = np.full_like(d_z, NO_LIMIT)
    if len(d_z) == 0:
        return room
    for name in Costs.model_fields:
        if (limit := search.limits.of(name)) is not None:
            first, last = (_cost_beside_blocks(search, arm, int(width), name) for width in (d_z[0], d_z[-1]))
            slope = (last - first) // max(int(d_z[-1] - d_z[0]), 1)
            beside = first + slope * (d_z - d_z[0])  # (Z,)
            room = np.minimum(room, (min(limit, NO_LIMIT) - beside) // (2 * d_z))
    return room


def _cost_beside_blocks(search: Search, arm: Arm, d_z: int, name: str) -> int:
    d_h = d_z - 1 if arm.family is Family.HOURGLASS else d_z + 1
    costs = known_costs(arm.architecture(d_z, d_h, depth=1), search.shape)
    return int(getattr(costs, name)) - 2 * d_z * d_h


def _pairs(depths: Integers, most: int, rng: np.random.Generator) -> tuple[Integers, Integers]:
    """Number the pairs: the row of d_z and the depth's step, (P,) each; evenly spaced ones when over `most`."""
    ends = np.cumsum(depths)
    count = int(ends[-1]) if len(ends) else 0
    if count <= most:
        pair = np.arange(count, dtype=np.int64)
    else:  # steps of more than 1, so no pair comes twice
        pair = ((np.arange(most) + rng.random()) * (count / most)).astype(np.int64)
    row = np.searchsorted(ends, pair, side="right")
    return row, pair - (ends - depths)[row]
