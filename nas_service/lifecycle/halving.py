"""Early stopping: a trial is judged once at each rung, in the transaction that stores its reports from there.

What was decided stays: a trial that is trained again from before a rung, by whatever worker, keeps its standing.
"""

from statistics import fmean

from nas_service.database import Connection
from nas_service.database.reports import insert_at_rung, reports_at_epoch, standings_of_trial, values_at_rung
from nas_service.domain.search import Search
from nas_service.domain.stopping import AVERAGE, judge
from nas_service.domain.trial import Trial


def is_stopped_early(connection: Connection, search: Search, trial: Trial) -> bool:
    """Judge a running trial at the rungs that it has reached since the last time; whether it is to end.

    It reaches a rung when all its replicates have; their mean counts. One whose replicate diverged reaches none.
    """
    if not search.rungs:
        return False
    standings = standings_of_trial(connection, trial.id)
    for epoch in search.rungs[len(standings) :]:
        if standings and not standings[-1].goes_on:
            break
        values = _values_at(connection, search, trial, epoch)
        if values is None:
            break
        earlier = values_at_rung(connection, trial.search_id, trial.arm, epoch)
        standings.append(judge(epoch, values, earlier, search.objectives))
        insert_at_rung(connection, trial, values, standings[-1])
    return bool(standings) and not standings[-1].goes_on


def _values_at(connection: Connection, search: Search, trial: Trial, epoch: int) -> list[float] | None:
    """The trial's value of each objective at a rung; None before all its replicates have reported them."""
    reported = reports_at_epoch(connection, trial.id, epoch)
    if len(reported) < search.recipe.replicates:
        return None
    values = []
    for objective in search.objectives:
        if objective.is_known:
            values.append(float(getattr(trial.costs, objective.name)))
        elif all(objective.name + AVERAGE in metrics for metrics in reported):
            values.append(fmean(metrics[objective.name + AVERAGE] for metrics in reported))
        else:
            return None
    return values
