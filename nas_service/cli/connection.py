"""What every command on searches takes: a server, a search."""

from typing import Annotated

import typer

from nas_service.client import Client
from nas_service.settings import Settings

Server = Annotated[str | None, typer.Option(help="Default: HOURGLASS_SERVER or http://127.0.0.1:8080.")]
SearchId = Annotated[int, typer.Argument(help="The search's id.", metavar="ID", min=1)]


def client_of(server: str | None) -> Client:
    """A client of the named server, or of the one in the settings."""
    settings = Settings()
    return Client(server or settings.server, settings.api_key)
