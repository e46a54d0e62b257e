"""Real processes for the acceptance tests: the embedded service and workers, on loopback, in a folder of their own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from typing import IO

from nas_service.client import Client, ServerUnreachable
from nas_service.messages import SearchDetail

HOURGLASS = [sys.executable, str(Path(sys.executable).with_name("hourglass"))]


def wait_until(holds: Callable[[], object], seconds: float, what: str) -> None:
    """Wait for a condition with a deadline."""
    deadline = monotonic() + seconds
    while not holds():
        assert monotonic() < deadline, f"not within {seconds} s: {what}"
        sleep(0.05)


class Service:
    """`hourglass up --workers 0` and workers beside it that a test may kill."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.folder = folder
        self.port = "0"
        own = {"OMP_NUM_THREADS": "1", "HOURGLASS_WORKER_DIR": str(folder / "results")}
        self.environment = {**os.environ, **own, **environment}
        self.processes: list[subprocess.Popen[str]] = []
        self.log: IO[str] = (folder / "service.log").open("a")
        self.client: Client | None = None
        self.up = self.start_server()

    def start_server(self) -> "subprocess.Popen[str]":
        command = ["up", "--port", self.port, "--workers", "0", "--data-dir", str(self.folder / "home")]
        self.up = self._start(command, stdout=subprocess.PIPE)
        assert self.up.stdout is not None
        line = self.up.stdout.readline()
        assert "http://127.0.0.1:" in line, (self.folder / "service.log").read_text()
        self.url = next(word for word in line.split() if word.startswith("http://"))
        self.port = self.url.rsplit(":", 1)[1]
        if self.client is not None:
            self.client.close()
        self.client = Client(self.url)
        return self.up

    def start_worker(self, *options: str) -> "subprocess.Popen[str]":
        return self._start(["worker", "--server", self.url, *options])

    def stop(self, process: "subprocess.Popen[str]", number: int = signal.SIGTERM) -> int:
        process.send_signal(number)
        return process.wait(30)

    def wait_for(self, search_id: int, holds: Callable[[SearchDetail], object], seconds: float, what: str) -> None:
        def looks_so() -> object:
            with suppress(ServerUnreachable):
                return holds(self.client.search(search_id))
            return False

        try:
            wait_until(looks_so, seconds, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{(self.folder / 'service.log').read_text()[-5000:]}") from None

    def close(self) -> None:
        """Workers first, then the server; what does not end by itself is killed."""
        for process in [*self.processes[1:], self.processes[0]]:
            if process.poll() is None:
                process.terminate()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(20)
                process.kill()
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        self.client.close()
        self.log.close()

    def _start(self, command: list[str], stdout: int | None = None) -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [*HOURGLASS, *command],
            stdin=subprocess.DEVNULL,
            stdout=stdout or self.log,
            stderr=self.log,
            env=self.environment,
            text=True,
        )
        self.processes.append(process)
        return process
