"""Where a server may listen: on this machine alone as long as there is no API key."""

from nas_service.database import Database
from nas_service.database.keys import has_keys
from nas_service.settings import Settings

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def require_keys_off_loopback(host: str, settings: Settings) -> None:
    """Raise SystemExit, with the command that creates the first key, when others could reach a service without keys."""
    if host in LOOPBACK:
        return
    database = Database(settings.url_of_database)
    with database.read() as connection:
        is_closed = has_keys(connection)
    database.close()
    if not is_closed:
        folder = "" if settings.database_url else f" --data-dir {settings.home}"
        raise SystemExit(
            f"error: without API keys the service listens on this machine only (got --host {host}); create the first "
            f"one with `hourglass keys create NAME --role admin{folder}`"
        )
