"""What a route may ask for: a transaction, the settings, the artifact store, the bell.

Application code never commits. The write transaction commits after the route's function and before the response leaves,
so that a client that has its answer finds it stored.
"""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request

from api.bell import Bell
from nas_service.artifacts import ArtifactStore
from nas_service.database import Connection, Database
from nas_service.settings import Settings


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _read(request: Request) -> Iterator[Connection]:
    with _database(request).read() as connection:
        yield connection


def _write(request: Request) -> Iterator[Connection]:
    with _database(request).write() as connection:
        yield connection


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _store(request: Request) -> ArtifactStore:
    store: ArtifactStore = request.app.state.store
    return store


def _bell(request: Request) -> Bell:
    bell: Bell = request.app.state.bell
    return bell


DatabaseOf = Annotated[Database, Depends(_database)]
Reading = Annotated[Connection, Depends(_read, scope="function")]
Writing = Annotated[Connection, Depends(_write, scope="function")]
SettingsOf = Annotated[Settings, Depends(_settings)]
Store = Annotated[ArtifactStore, Depends(_store)]
BellOf = Annotated[Bell, Depends(_bell)]
