"""New configurations that may be proposed: legal by the known constraints, never tried, with their exact costs.

n: configurations, P: parameters, m: objectives.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas_service.domain.front import Points
from nas_service.optimizer.frontier.axes import Axes, LacksParameterError
from nas_service.optimizer.frontier.branches import Branches, Integers
from nas_service.optimizer.frontier.encoding import Encoding, Floats, Params

MOST_LISTED = 20_000  # configurations that are gone through before it is said that nothing new is left


@dataclass(frozen=True)
class Configurations:
    """Some points of the space."""

    rows: Floats  # (n, P), not a number where the branch lacks the parameter
    costs: Points  # (n, m), not a number where the objective is unknown
    params: Sequence[Params]  # n times a value for every parameter of the space
    own: Sequence[Params]  # of these, the parameters of the branch

    def __len__(self) -> int:
        return len(self.params)

    def at(self, place: int) -> "Configurations":
        """One of them."""
        return Configurations(self.rows[[place]], self.costs[[place]], [self.params[place]], [self.own[place]])

    def and_also(self, others: "Configurations") -> "Configurations":
        """These, then the others."""
        rows, costs = np.vstack([self.rows, others.rows]), np.vstack([self.costs, others.costs])
        return Configurations(rows, costs, [*self.params, *others.params], [*self.own, *others.own])


class Candidates:
    """Draws configurations for one trial."""

    def __init__(
        self,
        encoding: Encoding,
        branches: Branches,
        is_legal: Callable[[Params], bool],
        axes: Axes,
        fixed: Params,
        tried: Sequence[Params],
        rng: np.random.Generator,
    ) -> None:
        """Prepare to draw.

        Args:
            encoding: of the space.
            branches: of the space.
            is_legal: whether the parameters of a branch may be proposed.
            axes: which know the costs of such parameters.
            fixed: values that the trial has already, of some parameters.
            tried: parameters of other trials.
            rng: draws.
        """
        self._encoding, self._branches, self._rng = encoding, branches, rng
        self._is_legal, self._axes, self._fixed = is_legal, axes, fixed
        self._fixed_row = encoding.rows([fixed])[0]
        self._admitted = branches.admits(self._fixed_row[None, :])[0]  # (b,)
        self._tried = set(_keys(encoding.rows(tried)))

    def first(self, count: int) -> Configurations:
        """Of `count` random draws those that are legal and new, of branches that no trial has tried, too.

        When there are none, many more are drawn; in a small space, all configurations. Costs are not numbers where
        they ask for a parameter that may be there or not, and legal is then what the constraints do not ask so of.
        """
        found = self._of_any_branch(self._encoding.random(count, self._rng))
        if not len(found) and math.prod(self._encoding.sizes) <= MOST_LISTED:
            return self._of_any_branch(self._rng.permutation(self._encoding.every()))
        for _ in range(0 if len(found) else MOST_LISTED // count):
            found = found if len(found) else self._of_any_branch(self._encoding.random(count, self._rng))
        return found

    def random(self, count: int) -> Configurations:
        """Of `count` random draws those that are legal and new."""
        admitted = np.flatnonzero(self._admitted)
        branch = self._rng.choice(admitted, size=count) if len(admitted) else admitted
        return self._legal(self._encoding.random(len(branch), self._rng), branch)

    def near(self, rows: Floats, scale: float) -> Configurations:
        """Of one draw around each row (n, P) those that are legal and new; the scale is a share of the cube's side."""
        rows = rows[self._admitted[self._branches.of(rows)]]
        whole = np.where(np.isnan(rows), self._encoding.random(len(rows), self._rng), rows)
        return self._legal(self._encoding.moved(whole, scale, self._rng), self._branches.of(rows))

    def _of_any_branch(self, rows: Floats) -> Configurations:
        admitted = self._branches.admits(self._with_fixed(rows))  # (n, b)
        return self._legal(rows, np.where(admitted.any(axis=1), admitted.argmax(axis=1), -1), may_lack=True)

    def _legal(self, rows: Floats, branch: Integers, may_lack: bool = False) -> Configurations:
        """Those of the rows (n, P) in branches (n,), -1 for an unknown one, that may be proposed.

        A row's branch is a guess, and wrong when it lacks what a function asks for: such rows go, unless they may lack.
        """
        rows, proposals = self._encoding.snap(self._branches.kept(self._with_fixed(rows), branch, self._rng))
        active = np.where(branch[:, None] < 0, True, self._branches.active[branch])  # (n, P)
        rows = np.where(active, rows, np.nan)
        unknown = [math.nan] * len(self._axes)
        legal, own, told, tried = list[int](), list[Params](), list[list[float]](), set(self._tried)
        for number, key in enumerate(_keys(rows)):
            if key in tried:
                continue
            proposals[number] |= self._fixed
            params = self._without(proposals[number], active[number])
            try:
                if not self._is_legal(params):
                    continue
                costs = self._axes.costs_told(params) if branch[number] >= 0 else unknown
            except LacksParameterError:
                if not may_lack:
                    continue
                costs = unknown
            tried.add(key)
            legal.append(number)
            own.append(params)
            told.append(costs)
        return Configurations(rows[legal], self._axes.points(told), [proposals[number] for number in legal], own)

    def _with_fixed(self, rows: Floats) -> Floats:
        return np.where(np.isnan(self._fixed_row), rows, self._fixed_row)

    def _without(self, params: Params, active: NDArray[np.bool_]) -> Params:
        absent = {name for name, is_active in zip(self._encoding.names, active.tolist(), strict=True) if not is_active}
        return {name: value for name, value in params.items() if name not in absent}


def _keys(rows: Floats) -> list[bytes]:
    """The same for rows (n, P) of the same configuration: a step may be written 0.3 or 0.1 + 2 * 0.1."""
    return [row.tobytes() for row in rows.round(12) + 0.0]
