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

AWAY: Responses = {503: {"model": Problem, "description": "the database is away; nothing was stored, try again"}}


def add_away_handler(app: FastAPI) -> None:
    """Teach the application what to answer while the database is away."""
    log_at = 0.0

    @app.exception_handler(DatabaseAway)
    async def _away(request: Request, error: DatabaseAway) -> Response:
        nonlocal log_at
        if monotonic() >= log_at:
            log_at = monotonic() + LOG_SECONDS
            log.warning("calls cannot be served", why=str(error), cause=" ".join(str(error.__cause__).split())[:300])
        if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/api/"):
            answer = away_page(request, str(error), RETRY_SECONDS)
        else:
            answer = problem(503, f"{error}; nothing of this call was stored, try it again")
        answer.headers["Retry-After"] = str(RETRY_SECONDS)
        return answer
