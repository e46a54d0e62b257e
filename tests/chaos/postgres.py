"""The PostgreSQL of a storm: killed as a whole, or in one connection, and started again on the same data folder.

TEST_DATABASE_URL plays no part here: a server that belongs to others must not be killed.
"""

from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

from tests.postgres import OwnPostgres


class Postgres(OwnPostgres):
    """One server process with its database at this version's schema; a killed one leaves its data as a crash would."""

    @property
    def plain_url(self) -> str:
        """The address as psycopg takes it."""
        return self._psycopg_url

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
        with suppress(psutil.NoSuchProcess):
            serving = [process for process in self._family()[1:] if "[local]" in " ".join(process.cmdline())]
            random.choice(serving or self._family()[1:]).kill()

    def start(self) -> None:
        """Start it again after it was killed."""
        self._server.ensure_postgres_running()

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._server.get_pid())
            return [first, *first.children(recursive=True)]
        return []
