"""The processes of a storm: each can be killed, frozen, thawed and started again."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from tests.acceptance.service import HOURGLASS, wait_until
from tests.chaos.postgres import Postgres
from tests.chaos.proxy import Proxy

LEASE_SECONDS, HEARTBEAT_SECONDS = 2.0, 0.5


class Program:
    """One process; what it prints goes to a file of its name."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], folder: Path) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self._log = folder / f"{name}.log"
        self.is_frozen = False
        self.start()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        return self._process.poll()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment
            )
        self.is_frozen = False

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)
        self.is_frozen = True

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)
        self.is_frozen = False

    def last_words(self, characters: int = 3000) -> str:
        return self._log.read_text(errors="replace")[-characters:]


class Cast:
    """PostgreSQL, the servers, the schedulers, the proxy before the servers, and the workers behind it."""

    def __init__(self, folder: Path, seed: int, servers: int, schedulers: int, workers: int) -> None:
        self.folder = folder
        self.postgres = Postgres()
        self.artifacts = folder / "artifacts"
        self.ended_by_themselves: Counter[str] = Counter()
        ports = [_free_port() for _ in range(servers)]
        self.servers = [self._hourglass(f"server-{n}", "server", "--port", str(p)) for n, p in enumerate(ports)]
        self.schedulers = [self._hourglass(f"scheduler-{n}", "scheduler") for n in range(schedulers)]
        self.proxy = Proxy(ports, seed)
        for port in ports:
            wait_until(lambda port=port: _listens(port), 60, f"a server listens on port {port}")
        self.workers = [self._worker(number, seed) for number in range(workers)]

    def diary_of(self, worker: Program) -> Path:
        return self.folder / f"{worker.name}.diary"

    def has_a_trial(self, worker: Program) -> bool:
        """Whether it does by its diary: the last line is neither of an end nor of a loss."""
        diary = self.diary_of(worker)
        lines = diary.read_text().splitlines()[-1:] if diary.exists() else []
        return any(json.loads(line)["what"] in ("granted", "report", "checkpoint", "network") for line in lines)

    @property
    def everybody(self) -> list[Program]:
        return [*self.servers, *self.schedulers, *self.workers]

    def revive(self, spared: Collection[str] = ()) -> None:
        """Start again who ended by itself: a server that finds no database at its start does."""
        for program in self.everybody:
            if not program.is_running and program.name not in spared:
                self.ended_by_themselves[f"{program.name.split('-')[0]} (status {program.exit_status})"] += 1
                program.start()

    def close(self) -> None:
        for program in reversed(self.everybody):
            if program.is_running:
                program.kill()
        self.proxy.close()
        self.postgres.close()

    def _hourglass(self, name: str, *command: str) -> Program:
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "HOURGLASS_DATABASE_URL": self.postgres.url,
            "HOURGLASS_ARTIFACTS": str(self.artifacts),
            "HOURGLASS_LEASE_SECONDS": str(LEASE_SECONDS),
            "HOURGLASS_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
            "HOURGLASS_MAX_ATTEMPTS": "1000",
            "HOURGLASS_MIN_FREE_BYTES": "0",
            "HOURGLASS_REQUESTS_PER_MINUTE": "1000000",
        }
        return Program(name, [*HOURGLASS, *command], environment, self.folder)

    def _worker(self, number: int, seed: int) -> Program:
        name = f"worker-{number}"
        script = [sys.executable, "-m", "tests.chaos.stub_worker", self.proxy.url, name, f"{seed} {number}"]
        return Program(
            name, [*script, str(self.folder / f"{name}.diary")], {**os.environ, "OMP_NUM_THREADS": "1"}, self.folder
        )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
