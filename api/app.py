"""The FastAPI application: REST under /api/v1, the dashboard's pages, /healthz, /readyz. No Optuna, no torch."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version

import uvicorn
from fastapi import APIRouter, FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from api import login, pages
from api.auth import Authentication
from api.away import AWAY, add_away_handler
from api.bell import Bell
from api.body_limits import BodyLimits
from api.dependencies import turns_of
from api.errors import NOT_ALLOWED, TOO_MUCH, add_error_handlers
from api.headers import SecurityHeaders
from api.rates import Rates
from api.routes import events, leases, people, searches, trials, workers
from api.rules import any_key, public, require_rules
from nas_service.artifacts import ArtifactStore
from nas_service.database import Database
from nas_service.settings import Settings


class Server(uvicorn.Server):
    """Sends home who waits before it waits for the open calls to end."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving."""
        assert isinstance(self.config.app, FastAPI)
        self.config.app.state.bell.close()
        await super().shutdown(sockets)


class Application(FastAPI):
    """FastAPI, with the security headers also on answers of its outermost layer (500)."""

    def build_middleware_stack(self) -> ASGIApp:
        """Put the headers around all layers."""
        return SecurityHeaders(super().build_middleware_stack())


def create_app(settings: Settings, own_key: str | None = None) -> FastAPI:
    """Build the application on the settings' database, which is at this version's schema.

    Args:
        settings: of this installation.
        own_key: what the workers that this service starts itself send as their key.
    """
    database = Database.of(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.bell = Bell(database, settings.poll_seconds)
        app.state.turns = asyncio.Semaphore(turns_of(settings))
        ringing = asyncio.create_task(app.state.bell.run())
        yield
        ringing.cancel()
        with suppress(asyncio.CancelledError):
            await ringing
        database.close()

    app = Application(
        title="Hourglass",
        version=version("hourglass-nas"),
        description="Searches hourglass network shapes and serves their Pareto fronts.",
        lifespan=lifespan,
        openapi_url=None,  # served below, to callers with a key
        docs_url=None,  # the page would load scripts from another host
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.database = database
    app.state.store = ArtifactStore(settings.url_of_artifacts)
    app.add_middleware(GZipMiddleware, minimum_size=2000)
    app.add_middleware(BodyLimits, settings=settings)
    app.add_middleware(Rates, settings=settings)
    app.add_middleware(Authentication, database=database, own_key=own_key)  # first: limits are those of a key
    add_error_handlers(app)
    add_away_handler(app)
    login.lead_to_login(app)
    rest = APIRouter(prefix="/api/v1", responses=NOT_ALLOWED | AWAY | TOO_MUCH)
    for part in (searches, trials, events, leases, workers, people):
        rest.include_router(part.router)
    app.include_router(rest)
    app.include_router(pages.router)
    app.include_router(login.router)
    app.mount("/static", pages.static_files, name="static")

    @app.get("/openapi.json", include_in_schema=False, dependencies=[any_key])
    def openapi() -> JSONResponse:
        return JSONResponse(app.openapi())

    @app.get("/healthz", tags=["operators"], dependencies=[public])
    async def healthz() -> dict[str, str]:
        """Answer as long as the process lives."""
        return {"status": "ok"}

    @app.get("/readyz", tags=["operators"], responses=AWAY, dependencies=[public])
    def readyz() -> dict[str, str]:
        """Answer 200 while the database answers, so that calls can be served; else 503."""
        database.require_reachable()
        return {"status": "ok"}

    require_rules(app)
    return app
