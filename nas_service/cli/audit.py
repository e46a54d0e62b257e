"""The audit in the terminal."""

from typing import Annotated

import typer
from rich.table import Table

from nas_service.cli.connection import Server, client_of
from nas_service.cli.searches import plain_console


def audit(limit: Annotated[int, typer.Option(min=1, max=1000)] = 50, server: Server = None) -> None:
    """List who did what, newest first; needs an admin's key."""
    with client_of(server) as client:
        entries = client.audit(limit)
    table = Table("when", "who", "what", "search", "detail")
    for entry in entries:
        detail = ", ".join(f"{name} {value}" for name, value in entry.detail.items())
        search = "" if entry.search_id is None else str(entry.search_id)
        table.add_row(f"{entry.at:%Y-%m-%d %H:%M:%S}", entry.actor, entry.action, search, detail)
    plain_console().print(table)
