"""Servers, schedulers and workers as processes of their own on one database, as in a deployment."""

import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import IO

from nas_service.client import Client
from nas_service.database import Database
from nas_service.database.leadership import leader_now
from tests.acceptance.service import HOURGLASS, wait_until

Process = subprocess.Popen[str]


class Deployment:
    """Starts parts on a migrated database and ends all of them."""

    def __init__(self, folder: Path, database_url: str, **environment: str) -> None:
        self.folder = folder
        self.database = Database(database_url)
        own = {"HOURGLASS_DATABASE_URL": database_url, "HOURGLASS_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
        self.environment = {**os.environ, **own, **environment}
        self._log: IO[str] = (folder / "log").open("a")
        self._processes: list[Process] = []

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text()

    def start(self, *command: str, **environment: str) -> Process:
        process = subprocess.Popen(
            [*HOURGLASS, *command],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**self.environment, **environment},
            text=True,
        )
        self._processes.append(process)
        return process

    def start_server(self) -> tuple[Process, str]:
        """A server that answers, and its address."""
        process, url = self.begin_server()
        with Client(url) as client:
            wait_until(lambda: is_up(client), 60, f"the server is up\n{self.log}")
        return process, url

    def begin_server(self) -> tuple[Process, str]:
        """A server that was started, and its address to be."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        return self.start("server", "--port", port), f"http://127.0.0.1:{port}"

    def leader(self) -> int | None:
        """The process id of the scheduler that leads."""
        with self.database.read() as connection:
            name = leader_now(connection)
        return int(name.rsplit("-", 1)[1]) if name else None

    def wait_for(self, holds, seconds: float, what: str) -> None:
        try:
            wait_until(holds, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log[-6000:]}") from None

    def close(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            process.kill()
            process.wait()
        self.database.close()
        self._log.close()


def is_up(client: Client) -> bool:
    with suppress(Exception):
        client.searches()
        return True
    return False
