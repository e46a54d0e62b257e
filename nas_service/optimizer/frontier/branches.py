"""The branches of a conditional space, learned from trials.

A *branch* is a set of parameters that finished trials have suggested together; `if family == "a": suggest d_h ...`
makes two. Which values lead to a branch is learned too: any two branches are told apart by one parameter that both
have and whose values never overlapped between them. A choice then leads to the branch that it was seen in, a number to
the nearer one. A space that is not conditional is one branch.

n: rows, P: parameters, b: branches.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_service.optimizer.frontier.encoding import Encoding, Floats

Integers = NDArray[np.int64]


class Branches:
    """The branches of a space and what leads to each."""

    def __init__(self, encoding: Encoding, finished: Sequence[Mapping[str, Any]]) -> None:
        """Learn them from the parameters of finished trials; of none, the space is one branch."""
        rows = encoding.rows(finished)
        patterns, branch = np.unique(~np.isnan(rows), axis=0, return_inverse=True)
        self.active = patterns if len(patterns) else np.ones((1, len(encoding.names)), dtype=np.bool_)  # (b, P)
        self.conditional = set(np.flatnonzero(~self.active.all(axis=0)).tolist())
        self.leading = set[int]()  # columns that tell branches apart
        self._chosen = dict[tuple[int, int], Floats]()  # (branch, column) -> the choices that lead there
        self._low, self._high = np.full(self.active.shape, -np.inf), np.full(self.active.shape, np.inf)  # (b, P)
        seen = [[np.unique(places) for places in rows[branch == number].T] for number in range(len(patterns))]
        by_simplicity = sorted(
            range(len(encoding.names)), key=lambda at: (at not in encoding.choices, encoding.sizes[at])
        )
        for one, other in combinations(range(len(patterns)), 2):
            shared = [column for column in by_simplicity if self.active[one, column] and self.active[other, column]]
            for column in shared:
                if self._separate(encoding, column, (one, seen[one][column]), (other, seen[other][column])):
                    self.leading.add(column)
                    break

    def __len__(self) -> int:
        return len(self.active)

    def of(self, rows: Floats) -> Integers:
        """The branch of each row (n, P), by what is not a number there: (n,); -1 for that of no finished trial."""
        same = (~np.isnan(rows)[:, None, :] == self.active[None, :, :]).all(axis=2)  # (n, b)
        return np.where(same.any(axis=1), same.argmax(axis=1), -1)

    def kept(self, rows: Floats, branch: Integers, rng: np.random.Generator) -> Floats:
        """The rows (n, P) with the values that lead to their branches (n,), -1 for an unknown one."""
        known = (branch >= 0)[:, None]
        rows = np.where(known, rows.clip(self._low[branch], self._high[branch]), rows)
        for (number, column), places in self._chosen.items():
            astray = (branch == number) & ~np.isin(rows[:, column], places)
            rows[astray, column] = rng.choice(places, size=int(astray.sum()))
        return rows

    def admits(self, rows: Floats) -> NDArray[np.bool_]:
        """Which branches (n, b) the values of rows (n, P) lead to; what is not a number there leads to all."""
        astray = (rows[:, None, :] < self._low) | (rows[:, None, :] > self._high)  # (n, b, P)
        admitted: NDArray[np.bool_] = np.logical_not(astray.any(axis=2))
        for (number, column), places in self._chosen.items():
            admitted[:, number] &= np.isin(rows[:, column], places) | np.isnan(rows[:, column])
        return admitted

    def _separate(self, encoding: Encoding, column: int, one: tuple[int, Floats], other: tuple[int, Floats]) -> bool:
        """Tell two branches apart by what was seen of a parameter in each, if that is possible."""
        (lower, below), (upper, above) = sorted([one, other], key=lambda seen: float(seen[1][0]))
        if column in encoding.choices:
            if np.isin(below, above).any():
                return False
            self._chosen[lower, column], self._chosen[upper, column] = below, above
            return True
        if below[-1] >= above[0]:
            return False
        high, low = encoding.divided(column, float(below[-1]), float(above[0]))
        self._high[lower, column] = min(self._high[lower, column], high)
        self._low[upper, column] = max(self._low[upper, column], low)
        return True
