"""One renderer for every error: `{"error": ..., "faults": [...]}` with the right status."""

import json
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from starlette.exceptions import HTTPException

from nas_service.artifacts import BrokenArtifact, StoreFails
from nas_service.domain.faults import Fault, faults_of_errors
from nas_service.lifecycle.errors import (
    Conflict,
    Forbidden,
    LeaseLost,
    LifecycleError,
    NotFound,
    NotSignedIn,
    Unsuitable,
)
from nas_service.messages import Problem

log = structlog.get_logger()

_STATUS: dict[type[Exception], int] = {
    NotSignedIn: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    LeaseLost: 410,
    Unsuitable: 422,
}
Responses = dict[int | str, dict[str, Any]]
MAX_SHOWN = 1000  # characters of a faulty value

NOT_ALLOWED: Responses = {401: {"model": Problem}, 403: {"model": Problem}}
NOT_FOUND: Responses = {404: {"model": Problem}}
CONFLICT: Responses = {404: {"model": Problem}, 409: {"model": Problem}}
LEASE_LOST: Responses = {409: {"model": Problem}, 410: {"model": Problem}}
UNPROCESSABLE: Responses = {400: {"model": Problem}, 422: {"model": Problem}}
TOO_MUCH: Responses = {413: {"model": Problem}, 429: {"model": Problem}}


def add_error_handlers(app: FastAPI) -> None:
    """Teach the application to answer every error in the same form."""

    @app.exception_handler(LifecycleError)
    async def _lifecycle(_request: Request, error: LifecycleError) -> Response:
        return problem_of(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> Response:
        faults = faults_of_errors(error.errors())
        named = "; ".join(f"{fault.field or 'body'}: {fault.message}" for fault in faults)
        return problem(422, named, faults)

    @app.exception_handler(BrokenArtifact)
    async def _broken(_request: Request, error: BrokenArtifact) -> Response:
        return problem(404, str(error))

    @app.exception_handler(StoreFails)
    async def _full(_request: Request, error: StoreFails) -> Response:
        log.error("a file cannot be stored", why=str(error))
        return problem(507, str(error))

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        response = problem(error.status_code, str(error.detail))
        response.headers.update(error.headers or {})
        if error.status_code == 405 and (methods := _methods_at(request)):
            response.headers["Allow"] = ", ".join(sorted(methods))
        return response

    @app.exception_handler(Exception)
    async def _ours(_request: Request, _error: Exception) -> Response:  # what happened stands in the log
        return problem(500, "the server failed at this; its log says why")


def problem_of(error: LifecycleError) -> Response:
    """The response of what a verb refuses."""
    response = problem(_STATUS[type(error)], str(error), error.faults if isinstance(error, Unsuitable) else None)
    if isinstance(error, NotSignedIn):
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def problem(status: int, message: str, faults: list[Fault] | None = None) -> Response:
    """The response of an error. What was sent may be anything: the body is ASCII and repeats no more than it must."""
    shown = [fault.model_copy(update={"value": _shown(fault.value)}) for fault in faults or []]
    body = Problem.model_construct(error=message, faults=shown).model_dump(mode="json", fallback=str)
    return Response(json.dumps(body), status_code=status, media_type="application/json")


def _methods_at(request: Request) -> set[str]:
    """Every method of the path: each is a route of its own, and the router names only those of the first one."""
    routes = [route for route in iter_route_contexts(request.app.routes) if route.methods]
    return {method for route in routes if route.path_regex.match(request.url.path) for method in route.methods or ()}


def _shown(value: Any) -> Any:
    """The value, or the beginning of its text where that is long."""
    try:
        text = json.dumps(value, default=str)
    except (ValueError, RecursionError):
        return None
    return value if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."
