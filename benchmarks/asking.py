"""Whether a sampler at work delays requests: latencies while the scheduler asks, against one with nothing to do.

    python benchmarks/asking.py --trials 1000

A real server with its scheduler in processes of their own, on a database with that many finished trials. The worker is
pretended: it ends every trial at once, so that the scheduler asks without a pause. Expected: the same latencies within
the machine's noise where there is a core for each process.
"""

import argparse
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from secrets import token_hex
from time import perf_counter, sleep

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.machine import this_machine
from nas_service.cli.child import running_service
from nas_service.client import WorkerClient
from nas_service.database import Database
from nas_service.database.migrate import upgrade
from nas_service.domain.architecture import Architecture
from nas_service.domain.search import Search
from nas_service.lifecycle import control
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.lease import lease
from nas_service.messages import Enqueue, LeaseRequest, Result, WorkerInfo
from nas_service.settings import Settings

ARM = "hourglass"
SEARCH = {
    "name": "asking",
    "dataset": {"name": "mnist"},
    "task": {"kind": "denoising"},
    "arms": {ARM: {"family": "hourglass", "d_z": [785, 2120], "d_h": [4, 480], "depth": [1, 20], "lr": [1e-4, 3e-3]}},
    "budget": {"trials_per_arm": 100_000},
}
PATHS = ("/api/v1/searches/{}", "/api/v1/searches/{}/front", "/searches/{}")
FIRST_ASKS = 3
WORKER = WorkerInfo(id="pretended", name="pretended", device="cpu", version="0", datasets={"mnist": None})


@dataclass
class PretendedWorker:
    """Ends every trial that it gets at once."""

    server: str
    ended: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Work while the block lasts."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        client = WorkerClient(self.server)
        while not self._stop.is_set():
            granted = client.lease(LeaseRequest(request_id=token_hex(8), worker=WORKER, wait_seconds=1))
            if granted is not None:
                client.send_result(granted, result_of(granted.architecture, Random(granted.trial_id)))
                self.ended += 1
        client.close()


def result_of(shape: Architecture, random: Random) -> Result:
    """A quality that grows with the size and has a best depth."""
    psnr_db = 22 + (shape.d_h / 480) ** 0.3 - 0.02 * abs(shape.depth - 5) + 0.02 * random.random()
    metrics = {"psnr_db": psnr_db, "ssim": 0.9, "mse": 0.01}
    return Result.model_validate(
        {
            "outcome": "completed",
            "metrics": {"eval": metrics, "test": metrics},
            "trivial": {"psnr_db": 12.0, "ssim": 0.1, "mse": 0.06},
            "seconds": 1.0,
            "epochs_done": 30,
        }
    )


def write_history(database: Database, settings: Settings, trials: int) -> int:
    """A search with that many finished trials; its id."""
    random = Random(0)
    with database.write() as connection:
        search_id = control.submit(connection, Search.model_validate(SEARCH)).id
    for _ in range(trials):
        sizes = {"d_z": random.randint(785, 2120), "d_h": random.randint(4, 480), "depth": random.randint(1, 20)}
        with database.write() as connection:
            control.enqueue(connection, search_id, Enqueue(arm=ARM, lr=round(random.uniform(1e-4, 3e-3), 6), **sizes))
            granted = lease(connection, LeaseRequest(request_id=token_hex(8), worker=WORKER, wait_seconds=0), settings)
            assert granted is not None
            finish(connection, granted.lease_id, granted.token, result_of(granted.architecture, random))
    with database.write() as connection:
        control.pause(connection, search_id)
    return search_id


def latencies_ms(server: str, search_id: int, rounds: int) -> dict[str, list[float]]:
    """What each request took, one after the other."""
    found: dict[str, list[float]] = {path: [] for path in PATHS}
    with httpx.Client(base_url=server, timeout=60) as client:
        for _ in range(rounds):
            for path, times in found.items():
                began = perf_counter()
                client.get(path.format(search_id)).raise_for_status()
                times.append(1000 * (perf_counter() - began))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(description="Latency of requests while the scheduler asks.")
    parser.add_argument("--trials", type=int, default=1000, help="finished trials in the search")
    parser.add_argument(
        "--rounds", type=int, default=100, help="times that each page is fetched while nothing is asked"
    )
    parser.add_argument("--asks", type=int, default=50, help="proposals during which it is fetched again and again")
    given = parser.parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 110)
    console.print(this_machine().text, highlight=False)
    with tempfile.TemporaryDirectory(prefix="hourglass-asking-") as name:
        settings = Settings(home=Path(name))
        upgrade(settings.url_of_database)
        database = Database(settings.url_of_database)
        search_id = write_history(database, settings, given.trials)
        database.close()
        with running_service(Path(name), workers=0, port=0) as (_, client):
            server = client.server
            latencies_ms(server, search_id, 3)  # what is made at the first call is made
            idle = latencies_ms(server, search_id, given.rounds)
            client.resume(search_id)
            worker = PretendedWorker(server)
            busy: dict[str, list[float]] = {path: [] for path in PATHS}
            with worker.at_work():
                while worker.ended < FIRST_ASKS:  # the scheduler has read the history
                    sleep(0.1)
                ended, began = worker.ended, perf_counter()
                while worker.ended < ended + given.asks:
                    for path, times in latencies_ms(server, search_id, 1).items():
                        busy[path] += times
                asks, seconds = worker.ended - ended, perf_counter() - began
    table = Table(title=f"{given.trials} finished trials; {asks} asked in {seconds:.1f} s, one after the other")
    table.add_column("request")
    for heading in ("idle p50 ms", "p99 ms", "asking p50 ms", "p99 ms", "ratio p50"):
        table.add_column(heading, justify="right")
    for path in PATHS:
        row = [float(at) for times in (idle, busy) for at in np.quantile(times[path], (0.5, 0.99))]
        table.add_row(path.format(search_id), *(f"{value:.1f}" for value in row), f"{row[2] / row[0]:.2f}")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
