"""Configurations of a search space as rows of the unit cube, and back.

A row has one number for each parameter: its place between the parameter's ends (on a log axis where the distribution
says so), or the number of its choice. Places of parameters that a configuration lacks are not numbers.

n: rows, P: parameters, D: features.
"""

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

Floats = NDArray[np.float64]
Params = dict[str, Any]
Numeric = IntDistribution | FloatDistribution

MIDDLE = 0.5  # the place of a single value, and for a Gaussian process of a parameter that is not there


def union(spaces: Iterable[Mapping[str, BaseDistribution]]) -> dict[str, BaseDistribution]:
    """All parameters of some trials, by name; of a numeric one the widest range that was seen."""
    joined: dict[str, BaseDistribution] = {}
    for space in spaces:
        for name, new in space.items():
            held = joined.setdefault(name, new)
            if held == new or type(held) is not type(new):
                continue
            if isinstance(held, IntDistribution) and isinstance(new, IntDistribution):
                step = math.gcd(held.step, new.step, held.low - new.low)  # on which the values of both lie
                joined[name] = IntDistribution(min(held.low, new.low), max(held.high, new.high), held.log, step)
            elif isinstance(held, FloatDistribution) and isinstance(new, FloatDistribution):
                low, high = min(held.low, new.low), max(held.high, new.high)
                joined[name] = FloatDistribution(low, high, held.log, held.step)
    return dict(sorted(joined.items()))


class Encoding:
    """The parameters of a space, in the order of their names."""

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self.names = sorted(space)
        self._distributions = [space[name] for name in self.names]
        self.choices = {  # number of choices of each categorical column
            column: len(distribution.choices)
            for column, distribution in enumerate(self._distributions)
            if isinstance(distribution, CategoricalDistribution)
        }
        self.sizes = [_size(distribution) for distribution in self._distributions]  # how many values each column has

    def rows(self, configurations: Sequence[Mapping[str, Any]]) -> Floats:
        """The rows (n, P) of configurations."""
        rows = np.full((len(configurations), len(self.names)), np.nan)
        for column, (name, distribution) in enumerate(zip(self.names, self._distributions, strict=True)):
            having = [number for number, params in enumerate(configurations) if name in params]
            values = [configurations[number][name] for number in having]
            rows[having, column] = _places(distribution, values)
        return rows

    def snap(self, rows: Floats) -> tuple[Floats, list[Params]]:
        """The rows (n, P) moved to the nearest configurations, and these."""
        snapped, columns = np.empty_like(rows), []
        for column, distribution in enumerate(self._distributions):
            values = _nearest(distribution, rows[:, column])
            snapped[:, column] = _places(distribution, values)
            columns.append(values)
        return snapped, [dict(zip(self.names, values, strict=True)) for values in zip(*columns, strict=True)]

    def random(self, count: int, rng: np.random.Generator) -> Floats:
        """Random rows (count, P), uniform in the cube."""
        rows = rng.random((count, len(self.names)))
        for column, choices in self.choices.items():
            rows[:, column] = rng.integers(choices, size=count)
        return rows

    def limits(self, spaces: Sequence[Mapping[str, BaseDistribution]]) -> list[tuple[int, float, Floats]]:
        """What differs among the ranges that numeric parameters had in some trials.

        Returns:
            A column, 1.0 for the highest or -1.0 for the lowest place, and these (n,), not a number where a trial
            lacked the parameter.
        """
        found = []
        for column, (name, distribution) in enumerate(zip(self.names, self._distributions, strict=True)):
            if isinstance(distribution, Numeric) and not distribution.single():
                ranges = [space.get(name) for space in spaces]
                for side, end in ((1.0, "high"), (-1.0, "low")):
                    values = [np.nan if had is None else float(getattr(had, end)) for had in ranges]
                    if len({value for value in values if value == value}) > 1:
                        found.append((column, side, _places(distribution, values)))
        return found

    def divided(self, column: int, below: float, above: float) -> tuple[float, float]:
        """Two places of a numeric parameter that divide what lies between two others, the middle going to the lower."""
        distribution = self._distributions[column]
        assert isinstance(distribution, Numeric)
        if distribution.step is None:
            return (below + above) / 2, (below + above) / 2
        low, high = _nearest(distribution, np.array([below, above]))
        last = low + distribution.step * (round((high - low) / distribution.step) // 2)
        ends = _places(distribution, [last, last + distribution.step]).tolist()
        return ends[0], ends[1]

    def every(self) -> Floats:
        """All rows (n, P) of a space without continuous parameters."""
        columns = [_every_place(distribution) for distribution in self._distributions]
        return np.stack(np.meshgrid(*columns, indexing="ij"), axis=-1).reshape(-1, len(columns))

    def moved(self, rows: Floats, scale: float, rng: np.random.Generator) -> Floats:
        """Rows (n, P) after a Gaussian step in about half of their parameters, at least one; choices are drawn anew."""
        n, p = rows.shape
        moves = rng.random((n, p)) < 0.5
        moves[np.arange(n), rng.integers(p, size=n)] = True
        steps = rows + scale * rng.standard_normal((n, p))
        steps = np.where(steps < 0, -steps, np.where(steps > 1, 2 - steps, steps)).clip(0, 1)  # reflected at the ends
        for column, choices in self.choices.items():
            steps[:, column] = rng.integers(choices, size=n)
        return np.where(moves, steps, rows)

    def features(self, rows: Floats, conditional: Set[int]) -> Floats:
        """What a Gaussian process sees of rows (n, P): (n, D), all in [0, 1].

        A categorical parameter has a column for each choice, a conditional one another for whether it is there.
        """
        columns = []
        for column, distribution in enumerate(self._distributions):
            places = rows[:, column]
            if column in self.choices:
                columns += [places == choice for choice in range(self.choices[column])]
            elif not distribution.single():
                columns.append(np.where(np.isnan(places), MIDDLE, places))
            if column in conditional:
                columns.append(np.isnan(places))
        return np.array(columns, dtype=np.float64).reshape(len(columns), len(rows)).T


def _size(distribution: BaseDistribution) -> float:
    if isinstance(distribution, CategoricalDistribution):
        return len(distribution.choices)
    assert isinstance(distribution, Numeric)
    if distribution.step is None:
        return 1 if distribution.single() else math.inf
    return 1 + round((distribution.high - distribution.low) / distribution.step)


def _every_place(distribution: BaseDistribution) -> Floats:
    if isinstance(distribution, CategoricalDistribution):
        return np.arange(len(distribution.choices), dtype=np.float64)
    assert isinstance(distribution, Numeric)
    steps = np.arange(_size(distribution)) * (distribution.step or 0)
    return _places(distribution, (distribution.low + steps).tolist())


def _places(distribution: BaseDistribution, values: Sequence[Any]) -> Floats:
    if isinstance(distribution, CategoricalDistribution):
        return np.array([distribution.to_internal_repr(value) for value in values])
    assert isinstance(distribution, Numeric)
    at, low, high = np.array(values, dtype=np.float64), float(distribution.low), float(distribution.high)
    if low == high:
        return np.full(len(values), MIDDLE)
    if distribution.log:
        return np.asarray((np.log(at) - np.log(low)) / (np.log(high) - np.log(low)))
    return np.asarray((at - low) / (high - low))


def _nearest(distribution: BaseDistribution, places: Floats) -> list[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return [distribution.choices[int(place)] for place in places]
    assert isinstance(distribution, Numeric)
    low, high = float(distribution.low), float(distribution.high)
    values = low * (high / low) ** places if distribution.log else low + places * (high - low)
    if distribution.step is not None:
        values = low + distribution.step * np.round((values - low) / distribution.step)
    values = values.clip(low, high)
    found: list[Any] = (
        values.astype(np.int64).tolist() if isinstance(distribution, IntDistribution) else values.tolist()
    )
    return found
