"""Cursor pages: newest first, `limit` at a time, the cursor is the last item's place."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from nas_service.messages import Page

Item = TypeVar("Item")

Limit = Annotated[int, Query(ge=1, le=1000, description="items on one page")]
IdCursor = Annotated[int | None, Query(ge=1, lt=2**53, alias="cursor", description="`next_cursor` of the page before")]


def page_of(items: Sequence[Item], limit: int, place: Callable[[Item], object]) -> Page[Item]:
    """A page from up to `limit` + 1 items: one more than fits tells that there is a next page."""
    shown = list(items[:limit])
    return Page(items=shown, next_cursor=str(place(shown[-1])) if len(items) > limit else None)
