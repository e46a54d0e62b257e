"""A search's events as server-sent events; the event number is the id, so `Last-Event-ID` resumes."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from sse_starlette import EventSourceResponse, ServerSentEvent

from api.bell import Bell
from api.dependencies import BellOf, DatabaseOf
from api.errors import NOT_FOUND, UNPROCESSABLE
from api.routes.searches import SearchId
from api.rules import Looker
from nas_service.database import Database, DatabaseAway
from nas_service.database.events import events_after
from nas_service.domain.records import Event
from nas_service.domain.roles import Caller
from nas_service.lifecycle.access import visible_search
from nas_service.lifecycle.errors import NotFound, NotSignedIn
from nas_service.lifecycle.keys import require_standing

router = APIRouter(tags=["events"])

EventNumber = Annotated[int, Query(ge=0, lt=2**53, description="start behind this event; default: from the first")]
LastEventId = Annotated[int, Header(alias="Last-Event-ID", ge=0, lt=2**53)]  # a header cannot be null: 0 is no event
PATIENCE_SECONDS = 15.0  # a stream looks by itself this often


@router.get(
    "/searches/{search_id}/events",
    response_class=EventSourceResponse,
    responses=NOT_FOUND | UNPROCESSABLE | {200: {"content": {"text/event-stream": {}}}},
)
async def stream_events(
    search_id: SearchId,
    caller: Looker,
    database: DatabaseOf,
    bell: BellOf,
    after: EventNumber = 0,
    last_event_id: LastEventId = 0,
) -> EventSourceResponse:
    """Stream what happens to a search, from the first event or behind the last one that the client has."""
    start = last_event_id or after
    await asyncio.to_thread(_read, database, caller, search_id, start, limit=1)  # 404 before the stream begins
    return EventSourceResponse(_stream(database, bell, caller, search_id, start), ping=15)


async def _stream(
    database: Database, bell: Bell, caller: Caller, search_id: int, number: int
) -> AsyncIterator[ServerSentEvent]:
    while not bell.closed:
        try:
            events = await asyncio.to_thread(_read, database, caller, search_id, number)
        except (NotFound, NotSignedIn):
            return  # the search was deleted, or is no longer for this caller; the next call is told why
        except DatabaseAway:
            return  # clients come back by themselves, behind the last event that they have
        for event in events:
            number = event.number
            yield ServerSentEvent(event.model_dump_json(), id=str(event.number), event=event.kind)
        await bell.wait_for_event(search_id, number, PATIENCE_SECONDS)


def _read(database: Database, caller: Caller, search_id: int, number: int, limit: int = 500) -> list[Event]:
    with database.read() as connection:
        require_standing(connection, caller)
        visible_search(connection, caller, search_id)
        return events_after(connection, search_id, number, limit)
