"""The states of searches and trials, what each means, how they begin and every legal step. Nothing else changes one."""

from enum import StrEnum


class IllegalTransition(ValueError):
    """The state machine has no such step."""


class TrialState(StrEnum):
    """Where a trial is in its life."""

    QUEUED = "queued"  # waits for a worker
    LEASED = "leased"  # one worker has the right to it until the lease expires
    COMPLETED = "completed"  # trained to the end; may stand on a front
    STOPPED = "stopped"  # ended early by the stopping rule; counts against the budget
    FAILED = "failed"  # ended with a `FailureReason`
    CANCELLED = "cancelled"  # its search was cancelled
    REFUSED = "refused"  # proposed, found illegal, over a limit or a duplicate; never queued, outside the budget


class FailureReason(StrEnum):
    """Why a trial failed."""

    DIVERGED = "diverged"  # the loss became infinite or exploded; counts against the budget
    OUT_OF_MEMORY = "out_of_memory"
    POISON = "poison"  # it took down too many workers
    DATASET = "dataset"  # its data is of no use to the search: without labels, or not as the search states it
    ERROR = "error"  # anything else; the message says what


class SearchState(StrEnum):
    """Where a search is in its life."""

    RUNNING = "running"  # trials are proposed and leased
    PAUSED = "paused"  # nothing is leased; running trials were given back
    FINISHED = "finished"  # every arm spent its budget or ran out of shapes; an extended budget makes it run again
    CANCELLED = "cancelled"  # ended by its owner
    FAILED = "failed"  # ended by too many failed trials


FIRST_STATES = frozenset(
    {
        TrialState.QUEUED,
        TrialState.REFUSED,
        TrialState.COMPLETED,  # imported: measured elsewhere, outside the budget
    }
)

TRIAL_TRANSITIONS: dict[TrialState, frozenset[TrialState]] = {
    TrialState.QUEUED: frozenset({TrialState.LEASED, TrialState.CANCELLED}),
    TrialState.LEASED: frozenset(
        {
            TrialState.QUEUED,  # lease expired, given back, or the search was paused
            TrialState.COMPLETED,
            TrialState.STOPPED,
            TrialState.FAILED,
            TrialState.CANCELLED,
        }
    ),
    TrialState.COMPLETED: frozenset(),
    TrialState.STOPPED: frozenset(),
    TrialState.FAILED: frozenset(),
    TrialState.CANCELLED: frozenset(),
    TrialState.REFUSED: frozenset(),
}

SEARCH_TRANSITIONS: dict[SearchState, frozenset[SearchState]] = {
    SearchState.RUNNING: frozenset(
        {SearchState.PAUSED, SearchState.FINISHED, SearchState.CANCELLED, SearchState.FAILED}
    ),
    SearchState.PAUSED: frozenset({SearchState.RUNNING, SearchState.CANCELLED}),
    SearchState.FINISHED: frozenset({SearchState.RUNNING}),
    SearchState.CANCELLED: frozenset(),
    SearchState.FAILED: frozenset(),
}


def check_trial_step(now: TrialState, then: TrialState) -> None:
    """Raise `IllegalTransition` unless a trial may go from `now` to `then`."""
    if then not in TRIAL_TRANSITIONS[now]:
        raise IllegalTransition(f"a {now} trial cannot become {then}; {_allowed(TRIAL_TRANSITIONS[now])}")


def check_search_step(now: SearchState, then: SearchState) -> None:
    """Raise `IllegalTransition` unless a search may go from `now` to `then`."""
    if then not in SEARCH_TRANSITIONS[now]:
        raise IllegalTransition(f"a {now} search cannot become {then}; {_allowed(SEARCH_TRANSITIONS[now])}")


def spends_budget(state: TrialState, reason: FailureReason | None) -> bool:
    """Whether a trial that ended so counts against its arm's budget."""
    if state is TrialState.FAILED:
        return reason is FailureReason.DIVERGED
    return state in (TrialState.COMPLETED, TrialState.STOPPED)


def _allowed(targets: frozenset[TrialState] | frozenset[SearchState]) -> str:
    return f"it can become {', '.join(sorted(targets))}" if targets else "it has ended"
