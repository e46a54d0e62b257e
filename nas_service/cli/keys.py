"""Commands on API keys: create, list, revoke. They work on the database itself, so the first key needs no server."""

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from nas_service.cli.searches import plain_console
from nas_service.domain.records import StoredKey
from nas_service.domain.roles import Caller, Quotas, Role
from nas_service.settings import Settings

if TYPE_CHECKING:
    from nas_service.database import Connection

Home = Annotated[Path | None, typer.Option("--data-dir", help="Folder of the embedded service's database.")]
Name = Annotated[str, typer.Argument(help="What people call the key: a person, a machine.", metavar="NAME")]
Quota = Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Quota of the key's searches; default: none.")]
USE = "HOURGLASS_API_KEY=THE_KEY hourglass searches --server URL, or paste it into the dashboard's login page"
USE_OF_WORKER = "HOURGLASS_API_KEY=THE_KEY hourglass worker --server URL"

keys = typer.Typer(help="API keys: create, list, revoke; on the database itself.", no_args_is_help=True)


@keys.command(epilog="Example: hourglass keys create ada --role submitter --expires 90 --max-running-searches 2")
def create(
    name: Name,
    role: Annotated[Role, typer.Option(help="What the key is for.")],
    expires: Annotated[int | None, typer.Option(min=1, max=36500, help="Days until it ends; default: never.")] = None,
    max_running_searches: Quota = None,
    max_trials: Quota = None,
    max_artifact_bytes: Quota = None,
    data_dir: Home = None,
) -> None:
    """Make a key and show it, this once. With the first one every call begins to need a key."""
    from nas_service.database.keys import has_keys
    from nas_service.lifecycle.keys import create_key

    quotas = Quotas(
        max_running_searches=max_running_searches, max_trials=max_trials, max_artifact_bytes=max_artifact_bytes
    )
    with _changing(data_dir) as connection:
        is_first = not has_keys(connection)
        _, text = create_key(connection, name, role, expires, quotas, _person())
    typer.echo(text)
    typer.echo(f"It is shown this once. Use it: {USE_OF_WORKER if role is Role.WORKER else USE}", err=True)
    if is_first:
        typer.echo("This was the first key: from now on every call needs one, also from this machine.", err=True)


@keys.command(name="list", epilog="Example: hourglass keys list")
def list_keys(data_dir: Home = None) -> None:
    """List all keys, without their secrets."""
    from nas_service.database.keys import every_key

    with _changing(data_dir) as connection:
        found = every_key(connection)
    table = Table("id", "name", "role", "state", "created", "expires", "last used", "quotas")
    for key in found:
        times = (_day(key.created_at), _day(key.expires_at), _day(key.last_used_at))
        table.add_row(str(key.id), key.name, key.role, key.standing, *times, _quotas_text(key))
    plain_console().print(table)


@keys.command(name="revoke", epilog="Example: hourglass keys revoke ada")
def revoke(name: Name, data_dir: Home = None) -> None:
    """Let a key be good for nothing, at once and for good."""
    from nas_service.lifecycle.keys import revoke_key

    with _changing(data_dir) as connection:
        revoke_key(connection, name, _person())
    typer.echo(f"the key {name} is revoked")


@contextmanager
def _changing(data_dir: Path | None) -> "Iterator[Connection]":
    """A write transaction on the database; a new one is made where there is none in the folder yet.

    Raises:
        SystemExit: when the database cannot be used, or refuses; the message says why.
    """
    from nas_service.database import Database
    from nas_service.database.migrate import DatabaseUnusable, require_current, upgrade
    from nas_service.lifecycle.errors import LifecycleError

    settings = Settings(home=data_dir) if data_dir else Settings()
    try:
        if settings.database_url is None and not (settings.home / "hourglass.db").exists():
            settings.home.mkdir(parents=True, exist_ok=True)
            upgrade(settings.url_of_database)
        require_current(settings.url_of_database)
        database = Database(settings.url_of_database)
        try:
            with database.write() as connection:
                yield connection
        finally:
            database.close()
    except (DatabaseUnusable, LifecycleError) as error:
        raise SystemExit(f"error: {error}") from error
    except OSError as error:
        raise SystemExit(f"error: cannot use {settings.home} as --data-dir: {error.strerror}") from error


def _person() -> Caller:
    """Whoever types, as the audit names them."""
    user = os.environ.get("USER") or os.environ.get("LOGNAME") or f"user {os.getuid()}"
    return Caller(key_id=None, name=f"command line, {user}@{platform.node()}"[:200], role=Role.ADMIN)


def _day(moment: datetime | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _quotas_text(key: StoredKey) -> str:
    return ", ".join(f"{name} {most:,}" for name, most in key.quotas.model_dump(exclude_none=True).items()) or "-"
