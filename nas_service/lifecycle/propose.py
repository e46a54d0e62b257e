"""Stores what the optimizer proposed: refused proposals as rows that cost nothing, the accepted one as queued."""

from collections.abc import Sequence

from nas_service.database import Connection
from nas_service.database.events import append_event, lock_search
from nas_service.database.searches import search_by_id, set_exhausted
from nas_service.database.trials import insert_trial, next_number
from nas_service.domain.records import StoredSearch
from nas_service.domain.states import SearchState, TrialState
from nas_service.domain.trial import AskedAfter, Proposal, duplicate_key


def store_proposals(
    connection: Connection,
    search_id: int,
    arm: str,
    proposals: Sequence[Proposal],
    asked_after: AskedAfter,
) -> bool:
    """Store consecutive proposals of an arm.

    Returns False, and stores nothing, when the search no longer runs or another trial took the first number (one that a
    user enqueued): the proposals were made for another history.
    """
    search = _running(connection, search_id)
    if search is None or proposals[0].number != next_number(connection, search_id, arm):
        return False
    for proposal in proposals:
        _store(connection, search, arm, proposal, asked_after)
    return True


def exhaust_arm(connection: Connection, search_id: int, arm: str, why: str) -> None:
    """Record that an arm has no shape left to propose."""
    if _running(connection, search_id) is not None:
        set_exhausted(connection, search_id, arm, why)
        append_event(connection, search_id, "arm_exhausted", arm=arm, why=why)


def _running(connection: Connection, search_id: int) -> StoredSearch | None:
    lock_search(connection, search_id)
    search = search_by_id(connection, search_id)
    return search if search is not None and search.state is SearchState.RUNNING else None


def _store(connection: Connection, search: StoredSearch, arm: str, proposal: Proposal, asked_after: AskedAfter) -> None:
    refused = proposal.violation > 0
    spending, key = 0.0, None
    if not refused:
        assert proposal.architecture is not None, "only a legal shape is queued"
        assert proposal.costs is not None
        key = duplicate_key(proposal.architecture, proposal.lr)
        spending = search.spec.planned_spending(arm, proposal.costs)
    trial_id = insert_trial(
        connection,
        search.id,
        arm,
        TrialState.REFUSED if refused else TrialState.QUEUED,
        spending,
        number=proposal.number,
        origin=proposal.origin,
        message=proposal.message,
        architecture=proposal.architecture.model_dump(mode="json") if proposal.architecture else None,
        lr=proposal.lr,
        costs=proposal.costs.model_dump() if proposal.costs else None,
        seed=search.spec.trial_seed,
        duplicate_key=key,
        violation=proposal.violation if refused else None,
        ask=proposal.ask.model_dump(mode="json"),
        asked_after=asked_after.model_dump(mode="json"),
    )
    kind = "trial_refused" if refused else "trial_queued"
    data = {"arm": arm, "number": proposal.number, "origin": proposal.origin, "message": proposal.message}
    append_event(connection, search.id, kind, trial_id, **data)
