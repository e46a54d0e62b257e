"""Searches: submit, list, show, pause, resume, cancel, extend, share, delete, bring results; their fronts."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response

from api.dependencies import Reading, Shortage, Writing
from api.errors import CONFLICT, NOT_FOUND, UNPROCESSABLE
from api.paging import IdCursor, Limit, page_of
from api.rules import Looker, Submitter
from nas_service.analysis.charts import front_figure
from nas_service.analysis.fronts import fronts_of_search
from nas_service.analysis.tables import csv_lines
from nas_service.database.audit import append_audit
from nas_service.database.searches import newest_searches
from nas_service.database.trials import front_trials, points_of_search
from nas_service.domain.search import Search
from nas_service.lifecycle import control
from nas_service.lifecycle.access import begin_deed, visible_search
from nas_service.lifecycle.bring import bring
from nas_service.lifecycle.overview import detail_of
from nas_service.messages import Brought, Extend, Front, OutsideResults, Page, SearchDetail

router = APIRouter(prefix="/searches", tags=["searches"])

SearchId = Annotated[int, Path(ge=1, lt=2**53)]
Paused = Annotated[bool, Query(description="nothing is proposed before it is resumed: bring results first")]


@router.post("", status_code=201, responses=CONFLICT | UNPROCESSABLE)
def submit(
    search: Search,
    caller: Submitter,
    connection: Writing,
    shortage: Shortage,
    response: Response,
    paused: Paused = False,
) -> SearchDetail:
    """Submit a search; it runs from now on, or from when it is resumed."""
    stored = control.submit(connection, search, caller.key_id, paused)
    append_audit(connection, caller, "search_submitted", stored.id, {"name": stored.name})
    response.headers["Location"] = f"/api/v1/searches/{stored.id}"
    return detail_of(connection, stored, shortage)


@router.get("", responses=UNPROCESSABLE)
def list_searches(
    caller: Looker, connection: Reading, shortage: Shortage, limit: Limit = 50, cursor: IdCursor = None
) -> Page[SearchDetail]:
    """List the searches that the key may see, newest first."""
    page = page_of(newest_searches(connection, limit + 1, cursor, caller), limit, lambda search: search.id)
    return Page(items=[detail_of(connection, search, shortage) for search in page.items], next_cursor=page.next_cursor)


@router.get("/{search_id}", responses=NOT_FOUND | UNPROCESSABLE)
def show(search_id: SearchId, caller: Looker, connection: Reading, shortage: Shortage) -> SearchDetail:
    """Show a search, how far it is, and why nothing runs when nothing runs."""
    return detail_of(connection, visible_search(connection, caller, search_id), shortage)


@router.post("/{search_id}/pause", responses=CONFLICT | UNPROCESSABLE)
def pause(search_id: SearchId, caller: Submitter, connection: Writing, shortage: Shortage) -> SearchDetail:
    """Lease nothing more; running trials go back to the queue."""
    begin_deed(connection, caller, "search_paused", search_id)
    return detail_of(connection, control.pause(connection, search_id), shortage)


@router.post("/{search_id}/resume", responses=CONFLICT | UNPROCESSABLE)
def resume(search_id: SearchId, caller: Submitter, connection: Writing, shortage: Shortage) -> SearchDetail:
    """Let a paused search run again."""
    begin_deed(connection, caller, "search_resumed", search_id)
    return detail_of(connection, control.resume(connection, search_id), shortage)


@router.post("/{search_id}/cancel", responses=CONFLICT | UNPROCESSABLE)
def cancel(search_id: SearchId, caller: Submitter, connection: Writing, shortage: Shortage) -> SearchDetail:
    """End a search; its finished trials stay."""
    begin_deed(connection, caller, "search_cancelled", search_id)
    return detail_of(connection, control.cancel(connection, search_id), shortage)


@router.post("/{search_id}/extend", responses=CONFLICT | UNPROCESSABLE)
def extend(
    search_id: SearchId, request: Extend, caller: Submitter, connection: Writing, shortage: Shortage
) -> SearchDetail:
    """Give every arm a larger budget; a finished search runs again."""
    begin_deed(connection, caller, "budget_extended", search_id, budget=request.budget)
    return detail_of(connection, control.extend(connection, search_id, request.budget), shortage)


@router.post("/{search_id}/share", responses=NOT_FOUND | UNPROCESSABLE)
def share(search_id: SearchId, caller: Submitter, connection: Writing, shortage: Shortage) -> SearchDetail:
    """Let everybody with a key look at a search."""
    begin_deed(connection, caller, "search_shared", search_id)
    return detail_of(connection, control.share(connection, search_id, shared=True), shortage)


@router.post("/{search_id}/unshare", responses=NOT_FOUND | UNPROCESSABLE)
def unshare(search_id: SearchId, caller: Submitter, connection: Writing, shortage: Shortage) -> SearchDetail:
    """Let only the owner of a search and admins look at it."""
    begin_deed(connection, caller, "search_unshared", search_id)
    return detail_of(connection, control.share(connection, search_id, shared=False), shortage)


@router.post("/{search_id}/results", responses=CONFLICT | UNPROCESSABLE)
def bring_results(search_id: SearchId, request: OutsideResults, caller: Submitter, connection: Writing) -> Brought:
    """Store results measured elsewhere as completed trials, outside the budget: all of them or none."""
    begin_deed(connection, caller, "results_brought", search_id, results=len(request.results))
    return bring(connection, search_id, request)


@router.delete("/{search_id}", status_code=204, responses=CONFLICT | UNPROCESSABLE)
def delete(search_id: SearchId, caller: Submitter, connection: Writing) -> None:
    """Forget a search that has ended, with its trials and files."""
    begin_deed(connection, caller, "search_deleted", search_id)
    control.delete(connection, search_id)


FormatOf = Annotated[Literal["json", "csv"], Query(alias="format")]


@router.get(
    "/{search_id}/front",
    response_model=Front,
    responses=NOT_FOUND | UNPROCESSABLE | {200: {"content": {"text/csv": {}}}},
)
def front(search_id: SearchId, caller: Looker, connection: Reading, format_: FormatOf = "json") -> Front | Response:
    """The non-dominated completed trials per arm and of the union, with hypervolumes."""
    fronts = fronts_of_search(visible_search(connection, caller, search_id), front_trials(connection, search_id))
    if format_ == "json":
        return fronts
    rows = [trial for part in fronts.arms.values() for trial in part.points]
    return Response("".join(csv_lines(rows)), media_type="text/csv")


@router.get(
    "/{search_id}/plot",
    response_class=Response,
    responses=NOT_FOUND | UNPROCESSABLE | {200: {"content": {"application/json": {}}}},
)
def plot(search_id: SearchId, caller: Looker, connection: Reading) -> Response:
    """The Pareto plot as a Plotly figure (JSON): every completed trial, and each arm's front."""
    search = visible_search(connection, caller, search_id)
    figure = front_figure(search, points_of_search(connection, search_id))
    return Response(figure.to_json(), media_type="application/json")
