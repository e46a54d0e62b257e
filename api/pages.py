"""The dashboard: HTML pages, their static files, and plotly.js from our own host.

A page is rendered here as a whole; its scripts only fetch it again and swap the parts marked `data-live`, so that every
row and number is written in one place. The Pareto plot alone is patched point by point from the event stream.
"""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from os import PathLike, stat_result
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from plotly.offline import get_plotlyjs, get_plotlyjs_version
from starlette.staticfiles import StaticFiles
from starlette.templating import Jinja2Templates
from starlette.types import Scope

from api.dependencies import Reading, Shortage
from api.paging import IdCursor, page_of
from api.rules import PageLooker, public
from nas_service.analysis.charts import TITLES, arm_colours
from nas_service.analysis.fronts import fronts_of_search
from nas_service.database import Connection
from nas_service.database.searches import newest_searches
from nas_service.database.trials import front_trials, newest_trials
from nas_service.database.workers import newest_workers
from nas_service.domain.records import StoredSearch
from nas_service.domain.roles import ANYBODY_HERE, Caller
from nas_service.domain.search import Search
from nas_service.domain.states import SEARCH_TRANSITIONS, SearchState, TrialState
from nas_service.domain.trial import Trial
from nas_service.lifecycle.access import visible_search
from nas_service.lifecycle.errors import NotFound
from nas_service.lifecycle.overview import detail_of
from nas_service.messages import ArmProgress, FrontPart, SearchDetail

HERE = Path(__file__).parent
SEARCHES_PER_PAGE = 25
TRIALS_PER_PAGE = 25
PLOTLY_PATH = f"/assets/plotly-{get_plotlyjs_version()}.js"
# Plotly writes its own styles into the page; scripts come from our files only.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",  # with `no-referrer` a browser would send a form with `Origin: null`
}

router = APIRouter(include_in_schema=False)


class _FreshStaticFiles(StaticFiles):
    """Files that a browser asks for again after an upgrade, at the price of a 304."""

    def file_response(
        self, full_path: str | PathLike[str], stat_result: stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = "no-cache"
        return response


static_files = _FreshStaticFiles(directory=HERE / "static")


@dataclass(frozen=True)
class ArmView:
    """An arm as a page shows it."""

    progress: ArmProgress
    colour: str
    done: float  # spent by trials that have ended, in the budget's unit
    front: FrontPart

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many trials stand in each state, in the order of a trial's life; rare states only when there are some."""
        trials = self.progress.trials
        always = {TrialState.COMPLETED: "completed", TrialState.LEASED: "running", TrialState.QUEUED: "queued"}
        always |= {TrialState.FAILED: "failed", TrialState.REFUSED: "refused"}
        rare = {state: state.value for state in (TrialState.STOPPED, TrialState.CANCELLED) if trials[state]}
        counts = {word: trials[state] for state, word in (always | rare).items()}
        if imported := self.progress.imported:
            counts["completed"] -= imported
            counts["imported"] = imported
        return list(counts.items())


@router.get("/")
def index(
    request: Request, caller: PageLooker, connection: Reading, shortage: Shortage, cursor: IdCursor = None
) -> Response:
    """List the searches, newest first."""
    stored = newest_searches(connection, SEARCHES_PER_PAGE + 1, cursor, caller)
    page = page_of(stored, SEARCHES_PER_PAGE, lambda search: search.id)
    rows = []
    for search in page.items:
        detail = detail_of(connection, search, shortage)
        rows.append({"search": detail, "done": sum(_done(detail, arm) for arm in detail.arms)})
    return render(request, "index.html", rows=rows, next_cursor=page.next_cursor, is_first=cursor is None)


@router.get("/searches/{search_id}")
def search_page(
    request: Request,
    search_id: str,
    caller: PageLooker,
    connection: Reading,
    shortage: Shortage,
    cursor: IdCursor = None,
    arm: Annotated[str, Query(max_length=64)] = "",
    state: TrialState | Literal[""] = "",
) -> Response:
    """Show a search: where it stands, its Pareto plot, its trials."""
    try:
        search = _search(connection, caller, search_id)
    except NotFound as error:
        return render(request, "not_found.html", status_code=404, message=str(error))
    detail = detail_of(connection, search, shortage)
    trials = newest_trials(connection, search.id, TRIALS_PER_PAGE + 1, cursor, arm or None, state or None)
    page = page_of(trials, TRIALS_PER_PAGE, lambda trial: trial.id)
    return render(
        request,
        "search.html",
        search=detail,
        arms=_arm_views(connection, search, detail),
        steps=_steps(search, caller),
        trials=page.items,
        next_cursor=page.next_cursor,
        cursor=cursor,
        arm=arm,
        state=state,
        states=list(TrialState),
        colours=arm_colours(search.spec),
        workers={worker.id: worker.name for worker in newest_workers(connection, 1000)},
        plotly=PLOTLY_PATH,
    )


@router.get(PLOTLY_PATH, dependencies=[public])
def plotly_js(request: Request) -> Response:
    """The plotting library as our own wheel of plotly carries it."""
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "Vary": "Accept-Encoding"}
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(_plotly_gzipped(), media_type="text/javascript", headers=headers | {"Content-Encoding": "gzip"})
    return Response(get_plotlyjs(), media_type="text/javascript", headers=headers)


@cache
def _plotly_gzipped() -> bytes:
    return gzip.compress(get_plotlyjs().encode(), compresslevel=6)


def _search(connection: Connection, caller: Caller, search_id: str) -> StoredSearch:
    if not (search_id.isascii() and search_id.isdigit() and 0 < int(search_id) < 2**63):
        raise NotFound(f"there is no search {search_id}")
    return visible_search(connection, caller, int(search_id))


def _steps(search: StoredSearch, caller: Caller) -> list[tuple[str, str]]:
    """The verbs that this person may use now, each with its word on the button."""
    if not caller.may_change(search.owner_key_id):
        return []
    targets = {
        SearchState.PAUSED: ("pause", "Pause"),
        SearchState.RUNNING: ("resume", "Resume"),
        SearchState.CANCELLED: ("cancel", "Cancel"),
    }
    if search.state is SearchState.FINISHED:  # runs again by a larger budget only
        targets = {}
    steps = [verb for target, verb in targets.items() if target in SEARCH_TRANSITIONS[search.state]]
    if caller is not ANYBODY_HERE:  # while there are no keys nobody else could look
        steps.append(("unshare", "Stop sharing") if search.shared else ("share", "Share"))
    return steps


def _arm_views(connection: Connection, search: StoredSearch, detail: SearchDetail) -> list[ArmView]:
    fronts = fronts_of_search(search, front_trials(connection, search.id))
    colours = arm_colours(search.spec)
    return [ArmView(arm, colours[arm.name], _done(detail, arm), fronts.arms[arm.name]) for arm in detail.arms]


def _done(search: SearchDetail, arm: ArmProgress) -> float:
    """What the arm's ended trials spent; in FLOPs, where open trials differ, what is promised to them counts too."""
    open_trials = arm.trials[TrialState.QUEUED] + arm.trials[TrialState.LEASED]
    if search.spec.budget.trials_per_arm is not None:
        return arm.spent - open_trials
    if search.spec.budget.epochs_per_arm is not None:
        return arm.spent - open_trials * search.spec.epochs_per_trial(arm.name)
    return arm.spent


# ---- how values are written


def _number(value: float) -> str:
    """A count or a budget: 1,234 or 1.2e+15."""
    return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.2e}"


def _short(value: float) -> str:
    """About three digits: 950, 1.23k, 45.6M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def _quality(trial: Trial, search: Search) -> str:
    """The trial's value of the first measured objective."""
    value = (trial.metrics or {}).get("eval", {}).get(search.quality.name)
    if value is None:
        return ""
    return f"{value:.2f}" if search.quality.unit == "dB" else f"{value:.4g}"


def _rates(lr: float | tuple[float, ...]) -> str:
    return ", ".join(f"{rate:.3g}" for rate in (lr if isinstance(lr, tuple) else (lr,)))


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _ago(moment: datetime) -> str:
    """How long ago, in one unit."""
    seconds = max(0.0, (datetime.now(UTC) - moment).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"


def _environment() -> Jinja2Templates:
    templates = Jinja2Templates(directory=HERE / "templates")
    filters = {"number": _number, "short": _short, "rates": _rates, "moment": _moment, "ago": _ago}
    templates.env.filters.update(filters | {"quality": _quality})
    templates.env.globals["titles"] = TITLES
    templates.env.trim_blocks = templates.env.lstrip_blocks = True
    return templates


_TEMPLATES = _environment()


def render(request: Request, name: str, status_code: int = 200, **context: Any) -> Response:
    """A page from its template."""
    headers: Mapping[str, str] = HEADERS
    context["caller"] = getattr(request.state, "caller", None)  # not known while the database is away
    return _TEMPLATES.TemplateResponse(request, name, context, status_code=status_code, headers=headers)


def away_page(request: Request, message: str, seconds: int) -> Response:
    """Tell a person why nothing can be shown now; the page looks again by itself."""
    return render(request, "away.html", status_code=503, message=message, seconds=seconds)
