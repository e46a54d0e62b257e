"""What the owner of a search may do with it: submit, pause, resume, cancel, extend, delete, share, enqueue."""

from nas_service.database import Connection
from nas_service.database.artifacts import expire_artifacts_of_search, expire_artifacts_of_trials
from nas_service.database.events import append_event, lock_search
from nas_service.database.searches import (
    arms_of,
    delete_search_rows,
    insert_search,
    move_search,
    search_by_id,
    set_budget,
    set_shared,
)
from nas_service.database.trials import insert_trial, move_trial, next_number, number_of_duplicate, open_trials
from nas_service.domain.allocation import open_arms
from nas_service.domain.records import StoredSearch
from nas_service.domain.search import Search
from nas_service.domain.states import IllegalTransition, SearchState, TrialState
from nas_service.domain.trial import duplicate_key
from nas_service.lifecycle.announce import announce_end
from nas_service.lifecycle.errors import Conflict, NotFound, Unsuitable
from nas_service.lifecycle.quotas import require_room_to_run
from nas_service.messages import Enqueue


def submit(
    connection: Connection, search: Search, owner_key_id: int | None = None, paused: bool = False
) -> StoredSearch:
    """Store a search of that key's; it runs from now on, or from when it is resumed.

    Raises:
        Conflict: when it would run, and the key has as many searches running as it may.
    """
    if not paused:
        require_room_to_run(connection, owner_key_id)
    search_id = insert_search(connection, search, owner_key_id)
    append_event(connection, search_id, "search_submitted", name=search.name)
    return pause(connection, search_id) if paused else require_search(connection, search_id)


def pause(connection: Connection, search_id: int) -> StoredSearch:
    """Lease nothing more; workers give their trials back at the next heartbeat. Pausing twice is pausing."""
    return _step(connection, search_id, SearchState.PAUSED, "search_paused")


def resume(connection: Connection, search_id: int) -> StoredSearch:
    """Let a paused search run again."""
    search = _locked(connection, search_id)
    if search.state is SearchState.FINISHED:
        raise Conflict(f"search {search_id} is finished; extend its budget to let it run on")
    if search.state is SearchState.PAUSED:
        require_room_to_run(connection, search.owner_key_id)
    return _step(connection, search_id, SearchState.RUNNING, "search_resumed")


def cancel(connection: Connection, search_id: int) -> StoredSearch:
    """End a search: queued and running trials are cancelled, finished ones stay."""
    ended_before = _locked(connection, search_id).state is SearchState.CANCELLED
    search = _step(connection, search_id, SearchState.CANCELLED, "search_cancelled")
    cancel_open_trials(connection, search_id)
    if not ended_before:
        announce_end(connection, search_id)
    return search


def extend(connection: Connection, search_id: int, budget: float) -> StoredSearch:
    """Give every arm a larger budget; a finished search runs again."""
    search = _locked(connection, search_id)
    if search.state in (SearchState.CANCELLED, SearchState.FAILED):
        raise Conflict(f"search {search_id} is {search.state} and cannot run on; submit it anew")
    if budget <= search.budget:
        raise Conflict(f"the new budget must be above the present {search.budget:g} per arm (got {budget:g})")
    set_budget(connection, search_id, budget)
    append_event(connection, search_id, "budget_extended", budget=budget)
    if search.state is SearchState.FINISHED:
        require_room_to_run(connection, search.owner_key_id)
        move_search(connection, search, SearchState.RUNNING)
    return require_search(connection, search_id)


def delete(connection: Connection, search_id: int) -> None:
    """Forget a search that has ended, with its trials and files."""
    search = _locked(connection, search_id)
    if search.state in (SearchState.RUNNING, SearchState.PAUSED):
        raise Conflict(f"search {search_id} is {search.state}; cancel it before deleting it")
    expire_artifacts_of_search(connection, search_id)
    delete_search_rows(connection, search_id)


def share(connection: Connection, search_id: int, shared: bool) -> StoredSearch:
    """Let everybody with a key look at a search, or its owner and admins alone."""
    set_shared(connection, search_id, shared)
    return require_search(connection, search_id)


def enqueue(connection: Connection, search_id: int, request: Enqueue) -> int:
    """Queue a given architecture in an arm; returns the trial's id.

    Raises:
        Conflict: when the search has ended.
        NotFound: when there is no such search.
        Unsuitable: when the search has no such arm, or the sizes or the learning rate do not suit it or exceed the
            search's limits.
    """
    search = _locked(connection, search_id)
    if search.state not in (SearchState.RUNNING, SearchState.PAUSED):
        raise Conflict(f"search {search_id} is {search.state}; nothing can be queued in it")
    arm = search.spec.arms.get(request.arm)
    if arm is None:
        raise Unsuitable(f"search {search_id} has no arm {request.arm!r}; it has {', '.join(search.spec.arms)}")
    try:
        architecture = arm.architecture(request.d_z, request.d_h, request.depth)
        costs = search.spec.costs_of(architecture)
        lr = arm.fixed_or(request.lr)
    except ValueError as error:
        raise Unsuitable(str(error)) from error
    if (fault := search.spec.limits.fault(costs)) is not None:
        raise Unsuitable(fault)
    key = duplicate_key(architecture, lr)
    if (earlier := number_of_duplicate(connection, search_id, request.arm, key)) is not None:
        raise Conflict(f"arm {request.arm} has this architecture and learning rate already, as number {earlier}")
    number = next_number(connection, search_id, request.arm)
    trial_id = insert_trial(
        connection,
        search_id,
        request.arm,
        TrialState.QUEUED,
        search.spec.planned_spending(request.arm, costs),
        number=number,
        origin="enqueued",
        architecture=architecture.model_dump(mode="json"),
        lr=lr,
        costs=costs.model_dump(),
        seed=search.spec.trial_seed,
        duplicate_key=key,
    )
    append_event(connection, search_id, "trial_queued", trial_id, arm=request.arm, number=number, origin="enqueued")
    return trial_id


def require_search(connection: Connection, search_id: int) -> StoredSearch:
    """The search of that id; raises NotFound."""
    search = search_by_id(connection, search_id)
    if search is None:
        raise NotFound(f"there is no search {search_id}")
    return search


def finish_if_done(connection: Connection, search_id: int) -> bool:
    """Finish a running search whose arms have spent their budget or run out of shapes."""
    search = _locked(connection, search_id)
    arms = arms_of(connection, search_id)
    if search.state is not SearchState.RUNNING or any(arm.open_trials for arm in arms):
        return False
    if open_arms(search, arms):
        return False
    move_search(connection, search, SearchState.FINISHED)
    append_event(connection, search_id, "search_finished")
    announce_end(connection, search_id)
    return True


def fail(connection: Connection, search_id: int, reason: str) -> None:
    """End a running search that cannot go on; its open trials are cancelled."""
    search = _locked(connection, search_id)
    if search.state is SearchState.RUNNING:
        move_search(connection, search, SearchState.FAILED, reason)
        append_event(connection, search_id, "search_failed", reason=reason)
        cancel_open_trials(connection, search_id)
        announce_end(connection, search_id)


def cancel_open_trials(connection: Connection, search_id: int) -> None:
    """Cancel every queued and leased trial of a search; the holders hear of it at their next heartbeat."""
    cancelled = open_trials(connection, search_id)
    expire_artifacts_of_trials(connection, [trial.id for trial in cancelled])
    for trial in cancelled:
        number = append_event(connection, search_id, "trial_cancelled", trial.id, arm=trial.arm, number=trial.number)
        move_trial(connection, trial, TrialState.CANCELLED, spending=0, ended_event=number)


def _step(connection: Connection, search_id: int, state: SearchState, event: str) -> StoredSearch:
    search = _locked(connection, search_id)
    if search.state is state:
        return search
    try:
        move_search(connection, search, state)
    except IllegalTransition as error:
        raise Conflict(str(error)) from error
    append_event(connection, search_id, event)
    return require_search(connection, search_id)


def _locked(connection: Connection, search_id: int) -> StoredSearch:
    lock_search(connection, search_id)
    return require_search(connection, search_id)
