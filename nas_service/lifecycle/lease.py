"""A worker's right to a trial: granted, renewed with every report, given back, taken back.

Locks are taken in one order, so that nobody waits in a circle: the search, its trials, the worker. Who locks several
searches goes by their ids.
"""

from secrets import token_hex

from nas_service.database import Connection
from nas_service.database.artifacts import artifact_of_trial
from nas_service.database.events import append_event, lock_search
from nas_service.database.leases import (
    NO_LEASE,
    grant_lease,
    grant_of_request,
    longest_queued_trial,
    lost_leases,
    renew_lease,
    search_to_serve,
    searches_with_lost_leases,
)
from nas_service.database.reports import delete_reports, insert_new_reports
from nas_service.database.trials import move_trial, trial_by_id, trials_leased_to
from nas_service.database.workers import announce_worker, dismiss_worker, key_of_worker, touch_worker
from nas_service.domain.records import Grant
from nas_service.domain.states import FailureReason, SearchState, TrialState
from nas_service.domain.trial import Trial
from nas_service.lifecycle.control import require_search
from nas_service.lifecycle.errors import Conflict, LeaseLost, NotFound
from nas_service.lifecycle.finish import fail_trial, held_trial
from nas_service.lifecycle.halving import is_stopped_early
from nas_service.lifecycle.quotas import may_lease
from nas_service.messages import Lease, LeaseRequest, Release, Report, ReportAnswer
from nas_service.settings import Settings


def lease(
    connection: Connection,
    request: LeaseRequest,
    settings: Settings,
    shortage: str | None = None,
    key_id: int | None = None,
) -> Lease | None:
    """Give the worker the next trial that it can train; None when there is none, or there is a shortage of space.

    A repeated request id gets the lease that it was granted before. A worker's id, and with it all that is leased to
    it, belongs to the key that announced it.

    Raises:
        Conflict: when the worker's id belongs to another key, or the request's id to another worker.
    """
    worker = request.worker
    is_known, owner = key_of_worker(connection, worker.id)
    if is_known and owner != key_id:
        raise Conflict(f"there is a worker {worker.id} of another key; a worker chooses an id of its own at random")
    grant = _granted_before(connection, request)
    if grant is None and shortage is None:
        grant = _claim(connection, request, settings.lease_seconds)
    announce_worker(connection, worker.id, key_id, **worker.model_dump(exclude={"id"}))
    return None if grant is None else _lease_message(connection, grant, settings)


def report(
    connection: Connection, lease_id: str, token: int, news: Report, settings: Settings, key_id: int | None = None
) -> ReportAnswer:
    """Take a heartbeat with its news and say whether to go on.

    Raises:
        LeaseLost: when the trial is no longer this lease's.
    """
    trial = held_trial(connection, lease_id, token, key_id)
    if trial.state is TrialState.CANCELLED:
        return ReportAnswer(action="stop", reason="cancelled")
    if trial.state is not TrialState.LEASED:
        raise LeaseLost(f"trial {trial.id} has ended ({trial.state}); throw this work away")
    renew_lease(connection, trial.id, settings.lease_seconds, news.step)
    insert_new_reports(connection, trial.id, [(row.training, row.epoch, row.metrics) for row in news.reports])
    if trial.worker_id is not None:
        touch_worker(connection, trial.worker_id)
    search = require_search(connection, trial.search_id)
    if is_stopped_early(connection, search.spec, trial):
        return ReportAnswer(action="stop", reason="early")
    if search.state is SearchState.PAUSED:
        return ReportAnswer(action="stop", reason="paused")
    return ReportAnswer(action="continue")


def release(connection: Connection, lease_id: str, token: int, message: Release, key_id: int | None = None) -> None:
    """Take a trial back that its worker cannot train; this uses no attempt.

    Raises:
        LeaseLost: when the trial is no longer this lease's.
    """
    trial = held_trial(connection, lease_id, token, key_id)
    if trial.state is TrialState.LEASED:
        _requeue(connection, trial, message.message or message.reason, attempt=trial.attempt)


def dismiss(connection: Connection, worker_id: str, key_id: int | None = None) -> None:
    """A worker ends: what it still holds goes back to the queue without using an attempt.

    Raises:
        NotFound: when the worker is another key's.
    """
    is_known, owner = key_of_worker(connection, worker_id)
    if is_known and owner != key_id:
        raise NotFound(f"this key has no worker {worker_id}")
    for held in trials_leased_to(connection, worker_id):
        trial = _locked_trial(connection, held.search_id, held.id)
        if trial is not None and trial.state is TrialState.LEASED and trial.worker_id == worker_id:
            _requeue(connection, trial, "its worker ended", attempt=trial.attempt)
    dismiss_worker(connection, worker_id)


def reap(connection: Connection, max_attempts: int) -> int:
    """Take back the trials whose lease expired or whose step stands still; returns how many.

    A trial that lost `max_attempts` leases is called poison and fails.
    """
    count = 0
    for search_id in searches_with_lost_leases(connection):
        lock_search(connection, search_id)
        for trial_id, stalled in lost_leases(connection, search_id):
            count += _take_back(connection, _trial(connection, trial_id), stalled, max_attempts)
    return count


def _claim(connection: Connection, request: LeaseRequest, lease_seconds: float) -> Grant | None:
    """Grant the next trial; None also when others took all of the search's meanwhile: the caller asks again."""
    worker = request.worker
    datasets = {key: digest for key, digest in worker.datasets.items() if key not in worker.problems}
    search_id = search_to_serve(connection, datasets, worker.device) if datasets else None
    if search_id is None or not lock_search(connection, search_id):
        return None
    if (grant := _granted_before(connection, request)) is not None:  # the same call, sent twice at once
        return grant
    if not may_lease(connection, require_search(connection, search_id).owner_key_id):
        return None
    if (trial_id := longest_queued_trial(connection, search_id)) is None:
        return None
    trial = _trial(connection, trial_id)
    append_event(
        connection, search_id, "trial_leased", trial.id, arm=trial.arm, number=trial.number, worker=worker.name
    )
    return grant_lease(connection, trial, token_hex(16), worker.id, request.request_id, lease_seconds)


def _granted_before(connection: Connection, request: LeaseRequest) -> Grant | None:
    grant, is_its_own = grant_of_request(connection, request.request_id, request.worker.id) or (None, True)
    if not is_its_own:
        raise Conflict("another worker made a request of this id; choose one at random for each request")
    return grant


def _take_back(connection: Connection, trial: Trial, stalled: bool, max_attempts: int) -> bool:
    if trial.state is not TrialState.LEASED:  # cancelled: one before it failed and the whole search with it
        return False
    why = "made no step for too long" if stalled else "was not heard of in time"
    if trial.attempt + 1 >= max_attempts:
        message = f"{trial.attempt + 1} workers lost it; the last one {why}"
        fail_trial(connection, trial, FailureReason.POISON, message)
    else:
        _requeue(connection, trial, f"its worker {why}", attempt=trial.attempt + 1)
    return True


def _requeue(connection: Connection, trial: Trial, message: str, attempt: int) -> None:
    append_event(
        connection, trial.search_id, "trial_requeued", trial.id, arm=trial.arm, number=trial.number, why=message
    )
    checkpoint = artifact_of_trial(connection, trial.id, "checkpoint")
    delete_reports(connection, trial.id, since=checkpoint.created_at if checkpoint else 0)
    move_trial(connection, trial, TrialState.QUEUED, message=message, attempt=attempt, **NO_LEASE)


def _lease_message(connection: Connection, grant: Grant, settings: Settings) -> Lease:
    trial = _trial(connection, grant.trial_id)
    search = require_search(connection, grant.search_id).spec
    assert trial.architecture is not None, "a queued trial has an architecture"
    checkpoint = artifact_of_trial(connection, trial.id, "checkpoint")
    return Lease(
        lease_id=grant.lease_id,
        token=grant.token,
        kind="train",
        trial_id=trial.id,
        search_id=trial.search_id,
        arm=trial.arm,
        number=trial.number,
        architecture=trial.architecture,
        lr=trial.lr,
        seed=trial.seed,
        dataset=search.dataset,
        task=search.task,
        recipe=search.recipe,
        quality=search.quality.name,
        quality_direction=search.quality.direction,
        lr_transfer=search.lr_transfer,
        rungs=search.rungs,
        measure=search.measured_costs,
        keep_network=search.keep_networks != "none",
        checkpoint=checkpoint.digest if checkpoint else None,
        checkpoint_seconds=settings.checkpoint_seconds,
        lease_seconds=settings.lease_seconds,
        heartbeat_seconds=settings.heartbeat_seconds,
    )


def _locked_trial(connection: Connection, search_id: int, trial_id: int) -> Trial | None:
    """The trial as it stands once its search is locked; None when it was deleted meanwhile."""
    return trial_by_id(connection, trial_id) if lock_search(connection, search_id) else None


def _trial(connection: Connection, trial_id: int) -> Trial:
    trial = trial_by_id(connection, trial_id)
    assert trial is not None, "read by its id in the same transaction"
    return trial
