"""What a route may ask for: a transaction, the settings, the artifact store, the bell.

Application code never commits. The write transaction commits after the route's function and before the response leaves,
so that a client that has its answer finds it stored.

A transaction needs a connection from its beginning to its end, and a thread of the server's forty each time that
something happens in it. Without turns forty calls that wait for a connection would take the threads that those who have
one need, and nothing would move until they gave up.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

from fastapi import Depends, Request

from api.bell import Bell
from nas_service.artifacts import ArtifactStore
from nas_service.database import Connection, Database, DatabaseBusy
from nas_service.database.errors import BUSY
from nas_service.lifecycle.space import shortage_of_space
from nas_service.settings import Settings


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def turns_of(settings: Settings) -> int:
    """How many calls may have a transaction at a time: some of the pool is left to who takes it within one thread."""
    return max(1, min(10, settings.database_pool_size // 2))


async def _turn(request: Request) -> AsyncIterator[None]:
    turns: asyncio.Semaphore = request.app.state.turns
    try:
        await asyncio.wait_for(turns.acquire(), _settings(request).database_pool_seconds)
    except TimeoutError as error:
        raise DatabaseBusy(BUSY) from error
    try:
        yield
    finally:
        turns.release()


Turn = Annotated[None, Depends(_turn, scope="function")]


def _read(request: Request, _turn: Turn) -> Iterator[Connection]:
    with _database(request).read() as connection:
        yield connection


def _write(request: Request, _turn: Turn) -> Iterator[Connection]:
    with _database(request).write() as connection:
        yield connection


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _store(request: Request) -> ArtifactStore:
    store: ArtifactStore = request.app.state.store
    return store


def _shortage(request: Request) -> str | None:
    return shortage_of_space(_store(request), _settings(request))


def _bell(request: Request) -> Bell:
    bell: Bell = request.app.state.bell
    return bell


DatabaseOf = Annotated[Database, Depends(_database)]
Reading = Annotated[Connection, Depends(_read, scope="function")]
Writing = Annotated[Connection, Depends(_write, scope="function")]
SettingsOf = Annotated[Settings, Depends(_settings)]
Store = Annotated[ArtifactStore, Depends(_store)]
Shortage = Annotated[str | None, Depends(_shortage)]  # why nothing may be leased: no space on the disk
BellOf = Annotated[Bell, Depends(_bell)]
