"""Queries on searches and their arms."""

from sqlalchemy import Connection, RowMapping, delete, insert, select, update

from nas_service.database.clock import now
from nas_service.database.tables import arms, searches
from nas_service.domain.records import StoredArm, StoredSearch
from nas_service.domain.roles import Caller, Right
from nas_service.domain.search import Search
from nas_service.domain.states import SearchState, TrialState, check_search_step

_ENDED = (SearchState.FINISHED, SearchState.CANCELLED, SearchState.FAILED)


def insert_search(connection: Connection, search: Search, owner_key_id: int | None = None) -> int:
    """Store a new running search with its arms; returns its id."""
    row = {
        "name": search.name,
        "state": SearchState.RUNNING,
        "spec": search.model_dump(mode="json"),
        "budget": search.budget.total,
        "priority": search.priority,
        "dataset": search.dataset.key,
        "dataset_digest": search.dataset.expected_digest,
        "device": search.device,
        "stall_seconds": search.stall_seconds,
        "owner_key_id": owner_key_id,
    }
    search_id: int = connection.execute(
        insert(searches).values(**row, created_at=now()).returning(searches.c.id)
    ).scalar_one()
    rows = [{"search_id": search_id, "name": name, "position": position} for position, name in enumerate(search.arms)]
    connection.execute(insert(arms), rows)
    return search_id


def search_by_id(connection: Connection, search_id: int) -> StoredSearch | None:
    """The search of that id."""
    row = connection.execute(select(searches).where(searches.c.id == search_id)).mappings().first()
    return _stored_search(row) if row else None


def newest_searches(
    connection: Connection, limit: int, before_id: int | None = None, seen_by: Caller | None = None
) -> list[StoredSearch]:
    """The searches that the caller may see, or all, newest first, from below `before_id`."""
    query = select(searches).order_by(searches.c.id.desc()).limit(limit)
    if seen_by is not None and not seen_by.may(Right.ADMINISTER):
        query = query.where(searches.c.shared | (searches.c.owner_key_id == seen_by.key_id))
    if before_id is not None:
        query = query.where(searches.c.id < before_id)
    return [_stored_search(row) for row in connection.execute(query).mappings()]


def news_of_running_searches(connection: Connection) -> dict[int, int]:
    """The newest event number of every running search, in order of priority, then age."""
    query = (
        select(searches.c.id, searches.c.last_event)
        .where(searches.c.state == SearchState.RUNNING)
        .order_by(searches.c.priority.desc(), searches.c.id)
    )
    return {row.id: row.last_event for row in connection.execute(query)}


def move_search(connection: Connection, search: StoredSearch, state: SearchState, reason: str | None = None) -> None:
    """Change a search's state; raises IllegalTransition when there is no such step."""
    check_search_step(search.state, state)
    ended = now() if state in _ENDED else None
    values = {"state": state, "reason": reason, "finished_at": ended}
    connection.execute(update(searches).where(searches.c.id == search.id).values(**values))


def set_budget(connection: Connection, search_id: int, budget: float) -> None:
    """Store the new budget of every arm."""
    connection.execute(update(searches).where(searches.c.id == search_id).values(budget=budget))


def set_shared(connection: Connection, search_id: int, shared: bool) -> None:
    """Let everybody with a key look at the search, or not."""
    connection.execute(update(searches).where(searches.c.id == search_id).values(shared=shared))


def set_trivial_once(connection: Connection, search_id: int, trivial: dict[str, float]) -> None:
    """Store the metrics of the task's trivial answer unless an earlier result brought them."""
    connection.execute(
        update(searches).where(searches.c.id == search_id, searches.c.trivial.is_(None)).values(trivial=trivial)
    )


def delete_search_rows(connection: Connection, search_id: int) -> None:
    """Remove the search, its arms, trials, reports and events."""
    connection.execute(delete(searches).where(searches.c.id == search_id))


def arms_of(connection: Connection, search_id: int) -> list[StoredArm]:
    """The search's arms in the order in which they were submitted."""
    query = select(arms).where(arms.c.search_id == search_id).order_by(arms.c.position)
    return [_stored_arm(row) for row in connection.execute(query).mappings()]


def set_exhausted(connection: Connection, search_id: int, arm: str, why: str) -> None:
    """Record that the arm has no shape left to propose."""
    this_arm = update(arms).where(arms.c.search_id == search_id, arms.c.name == arm)
    connection.execute(this_arm.values(exhausted=why))


def _stored_search(row: RowMapping) -> StoredSearch:
    return StoredSearch.model_validate({name: row[name] for name in StoredSearch.model_fields})


def _stored_arm(row: RowMapping) -> StoredArm:
    counts = {state: row[state] for state in TrialState}
    named = {name: row[name] for name in ("name", "exhausted", "spending", "imported")}
    return StoredArm.model_validate({**named, "trials": counts})
