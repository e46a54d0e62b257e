"""Which arm gets the next trial.

`equal`: every arm has its own budget, and the one that has spent least is next. `adaptive`: the arms share one purse of
the same total, and the next trial goes where the front of the union has grown most per unit of budget; no arm falls
below half of an even share, so that a late bloomer is still seen.
"""

from collections.abc import Sequence

import numpy as np

from nas_service.domain.front import hypervolume, minimised, non_dominated
from nas_service.domain.objectives import Objective
from nas_service.domain.records import StoredArm, StoredSearch

LEAST_SHARE = 0.5  # of an even share of what is spent, and of half the purse in the beginning
FADING = 0.9  # weight of an arm's earlier trials each time that another one ends


class Growth:
    """By how much each arm's trials made the hypervolume of the union grow, recent trials counting most."""

    def __init__(self, objectives: Sequence[Objective]) -> None:
        """Begin with an empty front."""
        self._objectives = objectives
        self._front = np.empty((0, len(objectives)))
        self._gains: dict[str, float] = {}
        self._spending: dict[str, float] = {}

    def note(
        self, arm: str, spending: float, values: Sequence[float] = (), reference: Sequence[float | None] = ()
    ) -> None:
        """Note a trial that has ended, in order of the ends.

        Args:
            arm: of the trial.
            spending: what it took from the budget.
            values: of its objectives, if it completed.
            reference: the worst value that counts of each; without one nothing has a volume.
        """
        before = self._front
        if values:
            points = np.vstack([before, minimised([values], self._objectives)])
            self._front = points[non_dominated(points)]
        if spending == 0:
            return  # imported, or replaced by another: it says nothing of what the budget buys
        gain = 0.0
        if values and None not in reference:
            corner = minimised([[worst or 0.0 for worst in reference]], self._objectives)[0]
            gain = hypervolume(self._front, corner) - hypervolume(before, corner)
        self._gains[arm] = FADING * self._gains.get(arm, 0.0) + gain
        self._spending[arm] = FADING * self._spending.get(arm, 0.0) + spending

    def rate(self, arm: str) -> float:
        """Hypervolume gained per unit of budget; infinite for an arm that has spent nothing."""
        spending = self._spending.get(arm, 0.0)
        return self._gains[arm] / spending if spending > 0 else float("inf")


def most_of_arm(search: StoredSearch) -> float:
    """What one arm may spend at most, in the budget's unit: its own budget, or the whole purse."""
    return search.budget * (1 if search.spec.allocation == "equal" else len(search.spec.arms))


def open_arms(search: StoredSearch, arms: Sequence[StoredArm]) -> list[StoredArm]:
    """The arms that may get another trial."""
    purse = search.budget * len(arms)
    if search.spec.allocation == "adaptive" and sum(arm.spending for arm in arms) >= purse:
        return []
    return [arm for arm in arms if arm.exhausted is None and arm.spending < most_of_arm(search)]


def next_arm(search: StoredSearch, arms: Sequence[StoredArm], growth: Growth) -> str | None:
    """The arm that gets the next trial; None when the budget is spent or no arm has a shape left.

    Args:
        search: as it stands.
        arms: all of it.
        growth: of the union's front so far; `equal` does without.
    """
    candidates = open_arms(search, arms)
    if not candidates:
        return None
    least = min(candidates, key=lambda arm: arm.spending)
    even = max(sum(arm.spending for arm in arms) / len(arms), search.budget / 2)
    if search.spec.allocation == "equal" or least.spending < LEAST_SHARE * even:
        return least.name
    return max(candidates, key=lambda arm: (growth.rate(arm.name), -arm.spending)).name
