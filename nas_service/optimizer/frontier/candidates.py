"""New configurations that may be proposed: legal by the known constraints, never tried, with their exact costs.

n: configurations, P: parameters, m: objectives.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nas_service.domain.front import Points
from nas_service.optimizer.frontier.branches import Branches, Integers
from nas_service.optimizer.frontier.encoding import Encoding, Floats, Params


@dataclass(frozen=True)
class Configurations:
    """Some points of the space."""

    rows: Floats  # (n, P), not a number where the branch lacks the parameter
    costs: Points  # (n, m), not a number where the objective is unknown
    params: Sequence[Params]  # n times a value for every parameter of the space

    def __len__(self) -> int:
        return len(self.params)

    def at(self, chosen: NDArray[np.bool_]) -> "Configurations":
        """Some of them."""
        params = [params for params, is_chosen in zip(self.params, chosen, strict=True) if is_chosen]
        return Configurations(self.rows[chosen], self.costs[chosen], params)

    def and_also(self, others: "Configurations") -> "Configurations":
        """These, then the others."""
        rows, costs = np.vstack([self.rows, others.rows]), np.vstack([self.costs, others.costs])
        return Configurations(rows, costs, [*self.params, *others.params])


class Candidates:
    """Draws configurations for one trial."""

    def __init__(
        self,
        encoding: Encoding,
        branches: Branches,
        is_legal: Callable[[Params], bool],
        costs_of: Callable[[Sequence[Params]], Points],
        fixed: Params,
        tried: Sequence[Params],
        rng: np.random.Generator,
    ) -> None:
        """Prepare to draw.

        Args:
            encoding: of the space.
            branches: of the space.
            is_legal: whether the parameters of a branch may be proposed.
            costs_of: known costs (n, m) of such parameters.
            fixed: values that the trial has already, of some parameters.
            tried: parameters of other trials.
            rng: draws.
        """
        self._encoding, self._branches, self._rng = encoding, branches, rng
        self._is_legal, self._costs_of, self._fixed = is_legal, costs_of, fixed
        self._fixed_row = encoding.rows([fixed])[0]
        self._tried = {_key(params) for params in tried}

    def first(self, count: int) -> Configurations:
        """Of `count` random draws those that are legal and new, of branches that no trial has tried, too.

        The costs of these are not numbers; that their parameters are legal is known only where the constraints can say.
        """
        rows = self._encoding.random(count, self._rng)
        admitted = self._branches.admits(np.where(np.isnan(self._fixed_row), rows, self._fixed_row))  # (n, b)
        return self._legal(rows, np.where(admitted.any(axis=1), admitted.argmax(axis=1), -1))

    def random(self, count: int) -> Configurations:
        """Of `count` random draws those that are legal and new."""
        admitted = self._branches.admits(self._fixed_row[None, :])[0]
        branches = np.flatnonzero(admitted if admitted.any() else ~admitted)
        return self._legal(self._encoding.random(count, self._rng), self._rng.choice(branches, size=count))

    def near(self, rows: Floats, scale: float) -> Configurations:
        """Of one draw around each row (n, P) those that are legal and new; the scale is a share of the cube's side."""
        whole = np.where(np.isnan(rows), self._encoding.random(len(rows), self._rng), rows)
        return self._legal(self._encoding.moved(whole, scale, self._rng), self._branches.of(rows))

    def _legal(self, rows: Floats, branch: Integers) -> Configurations:
        """Those of the rows (n, P) in branches (n,), -1 for an unknown one, that may be proposed."""
        rows = np.where(np.isnan(self._fixed_row), rows, self._fixed_row)
        rows, proposals = self._encoding.snap(self._branches.kept(rows, branch, self._rng))
        active = np.where(branch[:, None] < 0, True, self._branches.active[branch])  # (n, P)
        legal, own, tried = [], list[Params](), set(self._tried)
        for number, proposal in enumerate(proposals):
            proposal |= self._fixed
            params = proposal if active[number].all() else self._without(proposal, active[number])
            if (key := _key(params)) in tried or not self._may_propose(params, branch[number] < 0):
                continue
            tried.add(key)
            legal.append(number)
            own.append(params)
        known = branch[legal] >= 0
        costs = self._costs_of([params for params, is_known in zip(own, known, strict=True) if is_known])
        all_costs = np.full((len(legal), costs.shape[1]), np.nan)
        all_costs[known] = costs
        return Configurations(np.where(active, rows, np.nan)[legal], all_costs, [proposals[number] for number in legal])

    def _may_propose(self, params: Params, is_unknown_branch: bool) -> bool:
        try:
            return self._is_legal(params)
        except KeyError:
            if is_unknown_branch:  # it may have parameters that no trial has had
                return True
            raise

    def _without(self, params: Params, active: NDArray[np.bool_]) -> Params:
        absent = {name for name, is_active in zip(self._encoding.names, active.tolist(), strict=True) if not is_active}
        return {name: value for name, value in params.items() if name not in absent}


def _key(params: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(params.items())
