"""The branches of a conditional space, learned from trials.

A *branch* is a set of parameters that finished trials have suggested together; `if family == "a": suggest d_h ...`
makes two. Which values lead to a branch is learned too: a categorical or whole-number parameter whose values never
overlap between the branches that have it keeps, in each of them, to what was seen there. A space that is not
conditional is one branch.

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
        self._choices, self._seen = encoding.choices, dict[int, list[Floats]]()
        for column in encoding.choices.keys() | encoding.whole if len(patterns) > 1 else ():
            seen = [np.unique(rows[branch == number, column]) for number in range(len(patterns))]
            if self._leads(column, [places for places in seen if not np.isnan(places).any()]):
                self._seen[column] = seen

    def __len__(self) -> int:
        return len(self.active)

    def of(self, rows: Floats) -> Integers:
        """The branch of each row (n, P), by what is not a number there: (n,); -1 for that of no finished trial."""
        same = (~np.isnan(rows)[:, None, :] == self.active[None, :, :]).all(axis=2)  # (n, b)
        return np.where(same.any(axis=1), same.argmax(axis=1), -1)

    def kept(self, rows: Floats, branch: Integers, rng: np.random.Generator) -> Floats:
        """The rows (n, P) with the values that lead to their branches (n,)."""
        rows = rows.copy()
        for column, seen in self._seen.items():
            for number, places in enumerate(seen):
                here = branch == number
                if np.isnan(places).any():
                    continue
                if column in self._choices:
                    astray = here & ~np.isin(rows[:, column], places)
                    rows[astray, column] = rng.choice(places, size=int(astray.sum()))
                else:
                    rows[here, column] = rows[here, column].clip(places[0], places[-1])
        return rows

    def admits(self, rows: Floats) -> NDArray[np.bool_]:
        """Which branches (n, b) the values of rows (n, P) lead to; what is not a number there leads to all."""
        admitted = np.ones((len(rows), len(self)), dtype=np.bool_)
        for column, seen in self._seen.items():
            at = rows[:, column]
            for number, places in enumerate(seen):
                if not np.isnan(places).any():
                    leads = np.isin(at, places) if column in self._choices else (places[0] <= at) & (at <= places[-1])
                    admitted[:, number] &= leads | np.isnan(at)
        return admitted

    def _leads(self, column: int, seen: Sequence[Floats]) -> bool:
        """Whether the places of a parameter differ between all branches that have it."""
        pairs = list(combinations(seen, 2))
        if column in self._choices:
            return bool(pairs) and not any(np.isin(one, other).any() for one, other in pairs)
        return bool(pairs) and not any(one[0] <= other[-1] and other[0] <= one[-1] for one, other in pairs)
