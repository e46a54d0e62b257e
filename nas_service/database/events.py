"""The event log: numbers are per search, gapless and in commit order.

The number is taken by an UPDATE of the search's row in the transaction that the event reports. The row stays locked
until the commit, so a reader that saw number n has seen all before it. It also makes every writer of one search wait
for the one before it: append the event first where a decision depends on the search's other rows.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from nas_service.database.clock import now
from nas_service.database.tables import events, searches
from nas_service.domain.records import Event


def append_event(connection: Connection, search_id: int, kind: str, trial_id: int | None = None, **data: Any) -> int:
    """Append an event and return its number."""
    return append_events(connection, search_id, kind, [(trial_id, data)])


def append_events(
    connection: Connection, search_id: int, kind: str, rows: Sequence[tuple[int | None, dict[str, Any]]]
) -> int:
    """Append an event for each (trial id, data), at least one; return the number of the first."""
    take = update(searches).where(searches.c.id == search_id).values(last_event=searches.c.last_event + len(rows))
    last: int = connection.execute(take.returning(searches.c.last_event)).scalar_one()
    first = last - len(rows) + 1
    every = {"search_id": search_id, "kind": kind}
    named = [{**every, "number": first + place, "trial_id": of, "data": data} for place, (of, data) in enumerate(rows)]
    connection.execute(insert(events).values(at=now()), named)
    return first


def lock_search(connection: Connection, search_id: int) -> bool:
    """Make other writers of this search wait until the transaction ends; False when there is no such search."""
    touch = update(searches).where(searches.c.id == search_id).values(last_event=searches.c.last_event)
    return connection.execute(touch).rowcount == 1


def events_after(connection: Connection, search_id: int, number: int, limit: int = 1000) -> list[Event]:
    """The search's events with a higher number, oldest first."""
    query = (
        select(events)
        .where(events.c.search_id == search_id, events.c.number > number)
        .order_by(events.c.number)
        .limit(limit)
    )
    return [Event.model_validate(dict(row)) for row in connection.execute(query).mappings()]


def last_event_of(connection: Connection, search_ids: list[int]) -> dict[int, int]:
    """The newest event number of each search that still exists."""
    query = select(searches.c.id, searches.c.last_event).where(searches.c.id.in_(search_ids))
    return {row.id: row.last_event for row in connection.execute(query)}
