"""Fronts, hypervolumes and the reference point, as numbers. Nothing here draws."""

from collections.abc import Sequence

import numpy as np

from nas_service.domain.front import hypervolume, minimised, non_dominated
from nas_service.domain.objectives import Objective
from nas_service.domain.records import StoredSearch
from nas_service.domain.trial import Trial, trial_points
from nas_service.messages import Front, FrontPart


def fronts_of_search(search: StoredSearch, candidates: Sequence[Trial]) -> Front:
    """The front of each arm and of the union, from completed trials that include every arm's front."""
    objectives = search.spec.objectives
    reference = search.spec.reference_point(search.trivial)
    by_arm = {arm: [trial for trial in candidates if trial.arm == arm] for arm in search.spec.arms}
    return Front(
        objectives=list(objectives),
        reference_point=reference,
        union=_front_part(candidates, objectives, reference),
        arms={arm: _front_part(trials, objectives, reference) for arm, trials in by_arm.items()},
    )


def _front_part(
    trials: Sequence[Trial], objectives: Sequence[Objective], reference: Sequence[float | None]
) -> FrontPart:
    points = trial_points(trials, objectives)
    keep: list[int] = np.flatnonzero(non_dominated(points)).tolist()
    volume = None
    if None not in reference:
        corner = minimised([[value or 0.0 for value in reference]], objectives)[0]
        volume = hypervolume(points, corner)
    cheapest_first = sorted(keep, key=lambda row: (*points[row], trials[row].id))
    return FrontPart(points=[trials[row] for row in cheapest_first], hypervolume=volume)
