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
from nas_service.lifecycle.space import shortage_of_space
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
