"""What callers get while the database cannot serve them: 503 with `Retry-After`, in the form of every error.

Nothing of the call was stored, and it may be repeated. A person's browser gets a page that looks again by itself. The
log says it now and then, not for every call.
"""

from time import monotonic

import structlog
from fastapi import FastAPI, Request, Response

from api.errors import Responses, problem
from api.pages import away_page
from nas_service.database import DatabaseAway
from nas_service.messages import Problem

log = structlog.get_logger()

RETRY_SECONDS = 5  # after which a client may try again
LOG_SECONDS = 10.0
_log_at = 0.0  # when the log may say it again

AWAY: Responses = {503: {"model": Problem, "description": "the database is away; nothing was stored, try again"}}


def add_away_handler(app: FastAPI) -> None:
    """Teach the application what to answer while the database is away."""

    @app.exception_handler(DatabaseAway)
    async def _away(request: Request, error: DatabaseAway) -> Response:
        return answer_away(request, error)


def answer_away(request: Request, error: DatabaseAway) -> Response:
    """The response of a call that the database could not serve."""
    _log_now_and_then(error)
    if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
        answer = away_page(request, str(error), RETRY_SECONDS)
    else:
        answer = problem(503, f"{error}; nothing of this call was stored, try it again")
    answer.headers["Retry-After"] = str(RETRY_SECONDS)
    return answer


def _log_now_and_then(error: DatabaseAway) -> None:
    global _log_at
    if monotonic() >= _log_at:
        _log_at = monotonic() + LOG_SECONDS
        log.warning("calls cannot be served", why=str(error), cause=" ".join(str(error.__cause__).split())[:300])
