"""Trials: list as JSON pages or one CSV, show, curves, the trained network and its pin; enqueue an architecture."""

from collections.abc import Iterator
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from api.dependencies import DatabaseOf, Reading, Store, Writing
from api.errors import CONFLICT, NOT_FOUND, UNPROCESSABLE
from api.files import file_response
from api.paging import IdCursor, Limit, page_of
from api.routes.searches import SearchId
from api.rules import Looker, Submitter
from nas_service.analysis.tables import csv_lines
from nas_service.database import Database
from nas_service.database.reports import reports_of_trial, standings_of_trial
from nas_service.database.trials import newest_trials
from nas_service.domain.states import TrialState
from nas_service.domain.trial import Trial
from nas_service.lifecycle import control
from nas_service.lifecycle.access import begin_deed, visible_search, visible_trial
from nas_service.lifecycle.networks import open_network, pin_network, unpin_network
from nas_service.messages import Curves, Enqueue, Page

router = APIRouter(tags=["trials"])

TrialId = Annotated[int, Path(ge=1, lt=2**53)]
ArmFilter = Annotated[str | None, Query(max_length=64)]
CSV_PAGE = 1000


@router.get(
    "/searches/{search_id}/trials",
    response_model=Page[Trial],
    responses=NOT_FOUND | UNPROCESSABLE | {200: {"content": {"text/csv": {}}}},
)
def list_trials(
    search_id: SearchId,
    caller: Looker,
    database: DatabaseOf,
    limit: Limit = 100,
    cursor: IdCursor = None,
    arm: ArmFilter = None,
    state: TrialState | None = None,
    format_: Annotated[Literal["json", "csv"], Query(alias="format", description="csv: all pages at once")] = "json",
) -> Page[Trial] | Response:
    """List a search's trials, newest first, of one arm or in one state where asked."""
    with database.read() as connection:
        visible_search(connection, caller, search_id)
        if format_ == "json":
            trials = newest_trials(connection, search_id, limit + 1, cursor, arm, state)
            return page_of(trials, limit, lambda trial: trial.id)
    rows = csv_lines(_every_trial(database, search_id, arm, state))
    name = f"search-{search_id}-trials.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(rows, media_type="text/csv", headers=headers)


@router.post("/searches/{search_id}/trials", status_code=201, responses=CONFLICT | UNPROCESSABLE)
def enqueue(search_id: SearchId, request: Enqueue, caller: Submitter, connection: Writing) -> Trial:
    """Queue a given architecture in an arm; it counts against the arm's budget."""
    begin_deed(connection, caller, "trial_enqueued", search_id, **request.model_dump())
    return visible_trial(connection, caller, control.enqueue(connection, search_id, request))


@router.get("/trials/{trial_id}", responses=NOT_FOUND | UNPROCESSABLE)
def show(trial_id: TrialId, caller: Looker, connection: Reading) -> Trial:
    """Show one trial."""
    return visible_trial(connection, caller, trial_id)


@router.get("/trials/{trial_id}/reports", responses=NOT_FOUND | UNPROCESSABLE)
def reports(trial_id: TrialId, caller: Looker, connection: Reading) -> Curves:
    """The learning curves of a trial, one row an epoch of each of its networks, and how it stood at its rungs."""
    visible_trial(connection, caller, trial_id)
    reported, standings = reports_of_trial(connection, trial_id), standings_of_trial(connection, trial_id)
    return Curves.model_validate({"trial_id": trial_id, "reports": reported, "rungs": standings})


@router.get(
    "/trials/{trial_id}/network",
    response_class=Response,
    responses=NOT_FOUND | UNPROCESSABLE | {200: {"content": {"application/octet-stream": {}}}},
)
def network(trial_id: TrialId, caller: Looker, connection: Reading, store: Store) -> Response:
    """The trained network of a trial on a front, as safetensors."""
    visible_trial(connection, caller, trial_id)
    return file_response(open_network(connection, store, trial_id), name=f"trial-{trial_id}.safetensors")


@router.post("/trials/{trial_id}/network/pin", status_code=204, responses=CONFLICT | UNPROCESSABLE)
def pin(trial_id: TrialId, caller: Submitter, connection: Writing) -> None:
    """Keep the network for good, also off the front."""
    _begin_deed(connection, caller, "network_pinned", trial_id)
    pin_network(connection, trial_id)


@router.delete("/trials/{trial_id}/network/pin", status_code=204, responses=CONFLICT | UNPROCESSABLE)
def unpin(trial_id: TrialId, caller: Submitter, connection: Writing) -> None:
    """Keep the network no longer than the search's `keep_networks` says; off the front it has another day."""
    _begin_deed(connection, caller, "network_unpinned", trial_id)
    unpin_network(connection, trial_id)


def _begin_deed(connection: Writing, caller: Submitter, action: str, trial_id: int) -> None:
    trial = visible_trial(connection, caller, trial_id)
    begin_deed(connection, caller, action, trial.search_id, trial_id=trial_id)


def _every_trial(database: Database, search_id: int, arm: str | None, state: TrialState | None) -> Iterator[Trial]:
    """All pages, each in a transaction of its own: a slow reader holds nothing."""
    before: int | None = None
    while True:
        with database.read() as connection:
            page = newest_trials(connection, search_id, CSV_PAGE, before, arm, state)
        yield from page
        if len(page) < CSV_PAGE:
            return
        before = page[-1].id
