"""Results measured elsewhere become completed trials, outside the budget: all of a call, or none and every fault named.

Leaves out the study: the scheduler reads the events, as for trials that users enqueue.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from nas_service.database import Connection
from nas_service.database.events import append_events, lock_search
from nas_service.database.trials import insert_imported, trials_that_train
from nas_service.domain.architecture import Architecture, IllegalArchitecture
from nas_service.domain.costs import Costs
from nas_service.domain.faults import Fault
from nas_service.domain.records import StoredSearch
from nas_service.domain.search import Search
from nas_service.domain.states import SearchState
from nas_service.domain.trial import Trial, key_in_arm, objective_values
from nas_service.lifecycle.control import require_search
from nas_service.lifecycle.errors import Conflict, Unsuitable
from nas_service.lifecycle.finish import check_metrics
from nas_service.lifecycle.front import place_together
from nas_service.messages import Brought, OutsideResult, OutsideResults, Result

ArmAndKey = tuple[str, str]


@dataclass(frozen=True)
class _Arrival:
    """A result that suits its arm."""

    row: OutsideResult
    position: int  # in the request
    architecture: Architecture
    costs: Costs
    key: ArmAndKey  # equal for what would train the same


def bring(connection: Connection, search_id: int, request: OutsideResults) -> Brought:
    """Store results as completed trials; those that an earlier call brought stay as they are.

    Raises:
        Conflict: when the search was cancelled or has failed.
        NotFound: when there is no such search.
        Unsuitable: when any result does not suit the search, or one of its trials trains the same.
    """
    lock_search(connection, search_id)
    search = require_search(connection, search_id)
    if search.state in (SearchState.CANCELLED, SearchState.FAILED):
        raise Conflict(f"search {search_id} is {search.state} and cannot run on; results are of no use to it")
    faults: list[Fault] = []
    arrivals: list[_Arrival] = []
    for position, row in enumerate(request.results):
        wrong = [_fault(position, field, message) for field, message in _faults(search.spec, row)]
        faults += wrong
        if not wrong:
            arrivals.append(_arrival(search.spec, row, position))
    there = _trained_already(connection, search, arrivals)
    faults += _clashes(arrivals, there)
    if faults:
        count = len({fault.field.split(".")[1] for fault in faults})
        message = f"{count} of {len(request.results)} results do not suit the search, so nothing was stored"
        raise Unsuitable(message, faults)
    fresh = [arrival for arrival in arrivals if arrival.key not in there]
    _store(connection, search, fresh)
    return Brought(added=len(fresh), already_there=len(arrivals) - len(fresh))


def _faults(search: Search, row: OutsideResult) -> Iterator[tuple[str, str]]:
    """What is wrong with a result by itself, each as (field, message)."""
    yield from _faults_of_shape(search, row)
    for split, metrics in row.metrics.items():
        for name, value in metrics.items():
            if not isfinite(value):
                yield f"metrics.{split}.{name}", f"must be finite (got {value})"
    try:
        check_metrics(Result.model_construct(outcome="completed", metrics=row.metrics), search.objectives)
    except Unsuitable as error:
        yield "metrics", str(error)


def _faults_of_shape(search: Search, row: OutsideResult) -> Iterator[tuple[str, str]]:
    arm = search.arms.get(row.arm)
    if arm is None:
        yield "arm", f"there is no arm {row.arm!r}; the search has {', '.join(search.arms)}"
        return
    if outside := arm.faults_of(row.d_z, row.d_h, row.depth, row.lr):
        yield from outside.items()
        return
    try:
        costs = search.costs_of(arm.architecture(row.d_z, row.d_h, row.depth))
    except IllegalArchitecture as error:
        yield "d_z", str(error)
        return
    if (excess := search.limits.fault(costs)) is not None:
        yield "", excess


def _fault(position: int, field: str, message: str) -> Fault:
    return Fault(field=f"results.{position}.{field}".rstrip("."), message=message)


def _arrival(search: Search, row: OutsideResult, position: int) -> _Arrival:
    arm = search.arms[row.arm]
    architecture = arm.architecture(row.d_z, row.d_h, row.depth)
    key = row.arm, key_in_arm(arm, architecture, row.lr)
    return _Arrival(row, position, architecture, search.costs_of(architecture), key)


def _trained_already(
    connection: Connection, search: StoredSearch, arrivals: Sequence[_Arrival]
) -> dict[ArmAndKey, Trial]:
    """The search's trials that train what arrives."""
    found = trials_that_train(connection, search.id, {key for _, key in (arrival.key for arrival in arrivals)})
    arms, there = search.spec.arms, {}
    for trial in found:
        assert trial.architecture is not None, "it has a key"
        there[trial.arm, key_in_arm(arms[trial.arm], trial.architecture, trial.lr)] = trial
    return there


def _clashes(arrivals: Sequence[_Arrival], there: dict[ArmAndKey, Trial]) -> Iterator[Fault]:
    """The arrivals that contradict a trial, or an earlier arrival."""
    first: dict[ArmAndKey, int] = {}
    for arrival in arrivals:
        earlier = first.setdefault(arrival.key, arrival.position)
        twin = there.get(arrival.key)
        if earlier != arrival.position:
            yield _fault(arrival.position, "", f"trains the same as results.{earlier}")
        elif twin is not None and not _is_imported_as(twin, arrival.row):
            message = f"arm {twin.arm} has this architecture and learning rate already, as number {twin.number}"
            yield _fault(arrival.position, "", message)


def _is_imported_as(trial: Trial, row: OutsideResult) -> bool:
    return (trial.origin, trial.lr, trial.metrics) == ("imported", row.lr, row.metrics)


def _store(connection: Connection, search: StoredSearch, fresh: Sequence[_Arrival]) -> None:
    event = search.last_event + 1
    for arm in search.spec.arms:
        arrivals = [arrival for arrival in fresh if arrival.row.arm == arm]
        if not arrivals:
            continue
        rows = [_columns(search.spec, arrival) | {"ended_event": event + at} for at, arrival in enumerate(arrivals)]
        trials = insert_imported(connection, search.id, arm, rows)
        arrived, off_front = place_together(connection, search, trials)
        on_front = set(arrived)
        news = [(trial.id, _news(search.spec, trial, trial.id in on_front)) for trial in trials]
        news[-1][1]["off_front"] = off_front
        first = append_events(connection, search.id, "trial_completed", news)
        assert first == event, "the search is locked"
        event += len(trials)


def _columns(search: Search, arrival: _Arrival) -> dict[str, Any]:
    row = arrival.row
    return {
        "message": f"imported from {row.source}",
        "architecture": arrival.architecture.model_dump(mode="json"),
        "lr": row.lr,
        "costs": arrival.costs.model_dump(),
        "metrics": row.metrics,
        "replicates": [replicate.model_dump() for replicate in row.replicates],
        "seed": search.trial_seed,
        "duplicate_key": arrival.key[1],
    }


def _news(search: Search, trial: Trial, on_front: bool) -> dict[str, Any]:
    assert trial.costs is not None
    values = objective_values(search.objective_names, trial.costs, trial.metrics)
    data = {"arm": trial.arm, "number": trial.number, "origin": trial.origin, "message": trial.message}
    return data | {"values": values, "on_front": on_front, "off_front": []}
