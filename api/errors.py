"""One renderer for every error: `{"error": ..., "faults": [...]}` with the right status."""

from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from nas_service.artifacts import BrokenArtifact
from nas_service.domain.search import Fault, faults_of_errors
from nas_service.lifecycle.errors import Conflict, LeaseLost, LifecycleError, NotFound, Unsuitable
from nas_service.messages import Problem

log = structlog.get_logger()

_STATUS: dict[type[Exception], int] = {NotFound: 404, Conflict: 409, LeaseLost: 410, Unsuitable: 422}
Responses = dict[int | str, dict[str, Any]]

NOT_FOUND: Responses = {404: {"model": Problem}}
CONFLICT: Responses = {404: {"model": Problem}, 409: {"model": Problem}}
LEASE_LOST: Responses = {409: {"model": Problem}, 410: {"model": Problem}}
UNPROCESSABLE: Responses = {422: {"model": Problem}}


def add_error_handlers(app: FastAPI) -> None:
    """Teach the application to answer every error in the same form."""

    @app.exception_handler(LifecycleError)
    async def _lifecycle(_request: Request, error: LifecycleError) -> JSONResponse:
        return problem(_STATUS[type(error)], str(error))

    @app.exception_handler(RequestValidationError)
    async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        faults = faults_of_errors(error.errors())
        named = "; ".join(f"{fault.field or 'body'}: {fault.message}" for fault in faults)
        return problem(422, named, faults)

    @app.exception_handler(BrokenArtifact)
    async def _broken(_request: Request, error: BrokenArtifact) -> JSONResponse:
        return problem(404, str(error))

    @app.exception_handler(HTTPException)
    async def _http(_request: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail))


def problem(status: int, message: str, faults: list[Fault] | None = None) -> JSONResponse:
    """The response of an error."""
    body = Problem.model_construct(error=message, faults=faults or [])
    return JSONResponse(body.model_dump(mode="json", fallback=str), status_code=status)
