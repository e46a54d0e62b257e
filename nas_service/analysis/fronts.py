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
    reference = reference_point(search)
    by_arm = {arm: [trial for trial in candidates if trial.arm == arm] for arm in search.spec.arms}
    return Front(
        objectives=list(objectives),
        reference_point=reference,
        union=_front_part(candidates, objectives, reference),
        arms={arm: _front_part(trials, objectives, reference) for arm, trials in by_arm.items()},
    )


def reference_point(search: StoredSearch) -> list[float | None]:
    """The worst value that counts on each axis (see `Search.known_reference`).

    None where it needs the first result, or where the trivial answer's value has no place on a log scale.
    """
    return [_reference(search, objective) for objective in search.spec.objectives]


def _reference(search: StoredSearch, objective: Objective) -> float | None:
    known = search.spec.known_reference(objective)
    value = (search.trivial or {}).get(objective.name) if known is None else known
    return None if value is not None and objective.scale == "log" and value <= 0 else value


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
