"""How a leased trial ends: completed, stopped or failed, once. The row, the front and the event in one transaction."""

import hashlib

from nas_service.artifacts import digest_of
from nas_service.database import Connection
from nas_service.database.artifacts import expire_artifacts_of_trials
from nas_service.database.events import append_event, lock_search
from nas_service.database.leases import holder_of, result_digest_of
from nas_service.database.reports import standings_of_trial
from nas_service.database.searches import set_trivial_once
from nas_service.database.trials import count_replaced_failures, move_trial, trial_by_id
from nas_service.domain.objectives import Objective
from nas_service.domain.states import FailureReason, TrialState, spends_budget
from nas_service.domain.stopping import Standing
from nas_service.domain.trial import Trial, objective_values
from nas_service.lifecycle.control import fail, require_search
from nas_service.lifecycle.errors import Conflict, LeaseLost, Unsuitable
from nas_service.lifecycle.front import place_on_front
from nas_service.messages import Result


def finish(connection: Connection, lease_id: str, token: int, result: Result, key_id: int | None = None) -> Trial:
    """Store how the trial ended. The same result again changes nothing.

    Raises:
        LeaseLost: when the trial is no longer this lease's.
        Conflict: when the lease already brought a different result.
        Unsuitable: when the result lacks a metric that is an objective, or is `stopped` although nothing stopped it.
    """
    digest = hashlib.sha256(result.model_dump_json().encode()).hexdigest()
    trial = held_trial(connection, lease_id, token, key_id)
    if trial.state is not TrialState.LEASED:
        return _repeated(connection, trial, digest)
    search = require_search(connection, trial.search_id)
    check_metrics(result, search.spec.objectives)
    state = TrialState(result.outcome)
    message, epochs_done = result.message, result.epochs_done
    if state is TrialState.STOPPED:
        standing = _standing_of_stopped(connection, trial)
        message = standing.text
        at_rung = standing.epoch * search.spec.recipe.replicates
        epochs_done = max(epochs_done, at_rung)  # the worker may have lost some since
    spends = spends_budget(state, result.reason)
    planned = search.spec.planned_spending(trial.arm, trial.costs) if trial.costs else 1.0
    share = min(1.0, epochs_done / search.spec.epochs_per_trial(trial.arm))
    whole = state is TrialState.COMPLETED or search.spec.budget.trials_per_arm is not None
    if result.trivial:
        set_trivial_once(connection, trial.search_id, result.trivial)
    ended = trial.model_copy(update={"metrics": result.metrics})
    data = {"arm": trial.arm, "number": trial.number, "reason": result.reason, "message": message}
    if state is TrialState.COMPLETED:
        on_front, pushed_off = place_on_front(connection, search, ended)
        assert trial.costs is not None
        values = objective_values(search.spec.objective_names, trial.costs, ended.metrics)
        data |= {"values": values, "on_front": on_front, "off_front": pushed_off}
        expire_artifacts_of_trials(connection, [trial.id], "checkpoint")
    else:
        expire_artifacts_of_trials(connection, [trial.id])
    number = append_event(connection, trial.search_id, f"trial_{state}", trial.id, **data)
    columns = {
        "ended_event": number,
        "reason": result.reason,
        "message": message,
        "lr": result.lr if result.lr is not None else trial.lr,
        "metrics": result.metrics,
        "replicates": [row.model_dump() for row in result.replicates],
        "seconds": result.seconds,
        "epochs_done": epochs_done,
        "environment": result.environment,
        "projection_hash": result.projection_hash,
        "result_digest": digest,
    }
    move_trial(connection, trial, state, spending=(planned if whole else planned * share) * spends, **columns)
    _fail_search_after_too_many(connection, trial.search_id, message)
    return held_trial(connection, lease_id, token, key_id)


def held_trial(connection: Connection, lease_id: str, token: int, key_id: int | None) -> Trial:
    """The trial of a lease, its search locked until the transaction ends.

    Args:
        connection: in a write transaction.
        lease_id: of the lease.
        token: of the lease.
        key_id: the key of whoever says to hold it; None for a worker without a key.

    Raises:
        LeaseLost: when the lease is not known, another one took its place, or its worker came with another key.
    """
    holder = holder_of(connection, lease_id)
    if holder is not None:
        lock_search(connection, holder.search_id)
        holder = holder_of(connection, lease_id)  # as it stands under the lock
    if holder is None or (holder.token, holder.key_id) != (token, key_id):
        raise LeaseLost("this lease has ended and its trial went elsewhere; throw the work away and ask for another")
    trial = trial_by_id(connection, holder.trial_id)
    assert trial is not None
    return trial


def running_trial(connection: Connection, lease_id: str, token: int, key_id: int | None, what: str) -> Trial:
    """The trial of a lease that may still bring its `what` (network, checkpoint), its search locked.

    Raises:
        LeaseLost: when the trial is no longer this lease's, or has ended.
    """
    trial = held_trial(connection, lease_id, token, key_id)
    if trial.state is not TrialState.LEASED:
        raise LeaseLost(f"trial {trial.id} has ended ({trial.state}); its {what} is not needed")
    return trial


def check_arrival(content: bytes, digest: str, what: str) -> None:
    """Raise Conflict unless the content that a worker sent has the digest that it announced."""
    found = digest_of(content)
    if found != digest:
        raise Conflict(f"the {what} arrived damaged (digest {found}, announced {digest}); send it again")


def fail_trial(connection: Connection, trial: Trial, reason: FailureReason, message: str) -> None:
    """End a leased trial as failed without a result of its worker; its search is locked by the caller."""
    expire_artifacts_of_trials(connection, [trial.id])
    data = {"arm": trial.arm, "number": trial.number, "reason": reason, "message": message}
    number = append_event(connection, trial.search_id, "trial_failed", trial.id, **data)
    columns = {"ended_event": number, "reason": reason, "message": message}
    move_trial(connection, trial, TrialState.FAILED, spending=0, **columns)
    _fail_search_after_too_many(connection, trial.search_id, message)


def check_metrics(result: Result, objectives: tuple[Objective, ...]) -> None:
    """Raise Unsuitable unless a completed result measured every objective that needs training, on its scale."""
    if result.outcome != "completed":
        return
    metrics = result.metrics or {}
    to_measure = [row for row in objectives if not row.is_known]
    measured = {row.name: metrics.get("eval" if row.is_quality else "measured", {}).get(row.name) for row in to_measure}
    if missing := [row.path for row in to_measure if measured[row.name] is None]:
        raise Unsuitable(f"the result lacks {', '.join(missing)}, an objective of the search")
    for row in to_measure:
        value = measured[row.name] or 0.0
        if row.scale == "log" and value <= 0:
            raise Unsuitable(f"{row.name} must be above 0 on the search's log scale (got {value:g})")


def _standing_of_stopped(connection: Connection, trial: Trial) -> Standing:
    """How a trial stood where it was told to stop."""
    standings = standings_of_trial(connection, trial.id)
    if not standings or standings[-1].goes_on:
        raise Unsuitable(f"trial {trial.id} was not told to stop early; train it to the end or give it back")
    return standings[-1]


def _repeated(connection: Connection, trial: Trial, digest: str) -> Trial:
    stored = result_digest_of(connection, trial.id)
    if stored is None:
        raise LeaseLost(f"trial {trial.id} has ended ({trial.state}) without this result; throw the work away")
    if stored != digest:
        raise Conflict(f"trial {trial.id} has ended with another result; the first one stays")
    return trial


def _fail_search_after_too_many(connection: Connection, search_id: int, last_message: str | None) -> None:
    allowed = require_search(connection, search_id).spec.max_failures
    failures = count_replaced_failures(connection, search_id)
    if failures > allowed:
        last = f"; the last one: {last_message}" if last_message else ""
        fail(connection, search_id, f"{failures} trials failed, more than max_failures {allowed} allows{last}")
