"""Keeps the stored front of an arm true: new completed trials are held against the front's trials only."""

from collections.abc import Sequence

from nas_service.database import Connection
from nas_service.database.artifacts import expire_artifacts_of_trials
from nas_service.database.trials import front_trials, set_on_front
from nas_service.domain.front import non_dominated
from nas_service.domain.records import StoredSearch
from nas_service.domain.trial import Trial, trial_points

DAY = 86_400.0  # seconds for which a network is kept that left the front


def place_on_front(connection: Connection, search: StoredSearch, trial: Trial) -> tuple[bool, list[int]]:
    """Decide whether a trial that just completed stands on its arm's front.

    Returns whether it does, and the ids of the trials that it pushed off. Networks that are kept for the front only may
    be removed: that of a trial which never stood on it at once, that of one which left it after a day.
    """
    arrived, pushed_off = place_together(connection, search, [trial])
    if search.spec.keep_networks == "front" and not arrived:
        expire_artifacts_of_trials(connection, [trial.id], "network")
    return bool(arrived), pushed_off


def place_together(
    connection: Connection, search: StoredSearch, arrivals: Sequence[Trial]
) -> tuple[list[int], list[int]]:
    """Decide which of an arm's trials that completed at once, at least one, stand on its front.

    Returns their ids, and those of the trials that they pushed off.
    """
    present = front_trials(connection, search.id, arrivals[0].arm)
    keep = non_dominated(trial_points([*present, *arrivals], search.spec.objectives))
    pushed_off = [trial.id for trial, stays in zip(present, keep[: len(present)], strict=True) if not stays]
    arrived = [trial.id for trial, stands in zip(arrivals, keep[len(present) :], strict=True) if stands]
    set_on_front(connection, pushed_off, False)
    set_on_front(connection, arrived, True)
    if search.spec.keep_networks == "front":
        expire_artifacts_of_trials(connection, pushed_off, "network", after_seconds=DAY)
    return arrived, pushed_off
