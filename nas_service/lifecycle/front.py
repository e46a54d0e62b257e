"""Keeps the stored front of an arm true: a new completed trial is held against the front's trials only."""

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
    rivals = [*front_trials(connection, trial.search_id, trial.arm), trial]
    keep = non_dominated(trial_points(rivals, search.spec.objectives))
    on_front = bool(keep[-1])
    pushed_off = [rival.id for rival, stays in zip(rivals[:-1], keep[:-1], strict=True) if not stays]
    set_on_front(connection, pushed_off, False)
    if on_front:
        set_on_front(connection, [trial.id], True)
    if search.spec.keep_networks == "front":
        expire_artifacts_of_trials(connection, pushed_off, "network", after_seconds=DAY)
        if not on_front:
            expire_artifacts_of_trials(connection, [trial.id], "network")
    return on_front, pushed_off
