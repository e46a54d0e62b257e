"""How a server fares while 200 workers wait for a trial: /healthz, and how soon a worker has a trial that was queued.

    python benchmarks/waiting.py --workers 200 --calls 600

The server is a process of its own (`hourglass server`) on a SQLite file in a temporary folder; all workers are calls of
one process. The limit for /healthz is 50 ms. Leaves out training: a lease is given back at once.
"""

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from time import perf_counter

import httpx

from nas_service.cli.embedded import hourglass_command
from nas_service.database.migrate import upgrade

LIMIT_MS = 50.0
WAIT_SECONDS = 30.0
SEARCH = {
    "name": "waiting",
    "dataset": {"name": "digits"},
    "task": {"kind": "denoising"},
    "arms": {"hourglass": {"family": "hourglass", "d_z": [65, 1000], "d_h": [4, 32], "depth": 1, "lr": 1e-3}},
    "objectives": [{"name": "parameters_trainable", "scale": "log"}, {"name": "psnr_db"}],
    "budget": {"trials_per_arm": 1000},
}


async def measure(url: str, workers: int, calls: int, trials: int) -> dict[str, float]:
    """Milliseconds of /healthz with nobody and with everybody waiting, and until a queued trial is leased."""
    limits = httpx.Limits(max_connections=workers + 20)
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits, trust_env=False) as http:
        await _until_up(http)
        found = {f"idle_{name}": value for name, value in (await _healthz(http, calls)).items()}
        search = (await http.post("/api/v1/searches", json=SEARCH)).raise_for_status().json()["id"]
        leased: asyncio.Queue[float] = asyncio.Queue()
        waiting = [asyncio.create_task(_wait(http, number, leased)) for number in range(workers)]
        await _until_all_wait(http, workers)
        found |= {f"waiting_{name}": value for name, value in (await _healthz(http, calls)).items()}
        times = []
        for number in range(trials):
            began = perf_counter()
            body = {"arm": "hourglass", "d_z": 65 + number, "d_h": 8, "depth": 1}
            (await http.post(f"/api/v1/searches/{search}/trials", json=body)).raise_for_status()
            times.append((await leased.get() - began) * 1000)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    return found | {"lease_median": statistics.median(times), "lease_worst": max(times)}


async def _healthz(http: httpx.AsyncClient, calls: int) -> dict[str, float]:
    times = []
    for _ in range(calls):
        began = perf_counter()
        (await http.get("/healthz")).raise_for_status()
        times.append((perf_counter() - began) * 1000)
        await asyncio.sleep(0.002)
    return {"median": statistics.median(times), "p95": statistics.quantiles(times, n=20)[-1]}


async def _wait(http: httpx.AsyncClient, number: int, leased: asyncio.Queue[float]) -> None:
    """One worker: ask, wait, note the moment of a lease, give it back, ask again."""
    worker = {"id": f"w{number}", "name": f"w{number}", "device": "cpu", "version": "0", "datasets": {"digits": None}}
    while True:
        request = {"request_id": token_hex(16), "worker": worker, "wait_seconds": WAIT_SECONDS}
        answer = await http.post("/api/v1/leases", json=request)
        if answer.status_code == 200:
            leased.put_nowait(perf_counter())
            await asyncio.sleep(WAIT_SECONDS)  # it trains, and the next trial is somebody else's


async def _until_up(http: httpx.AsyncClient) -> None:
    while True:
        with suppress(httpx.TransportError):
            await http.get("/healthz")
            return
        await asyncio.sleep(0.05)


async def _until_all_wait(http: httpx.AsyncClient, workers: int) -> None:
    while True:
        alive = (await http.get("/api/v1/workers", params={"limit": 1000})).json()["items"]
        if len(alive) == workers:  # each announced itself with its first look; now it waits
            return
        await asyncio.sleep(0.1)


def main() -> None:
    """Start the server, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=200)
    parser.add_argument("--calls", type=int, default=600, help="of /healthz")
    parser.add_argument("--trials", type=int, default=50, help="queued one after the other")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
        free.close()
        upgrade(f"sqlite:///{Path(folder) / 'hourglass.db'}")
        command = [*hourglass_command(), "server", "--port", str(port), "--data-dir", folder]
        server = subprocess.Popen(command, env={**os.environ, "HOURGLASS_MIN_FREE_BYTES": "0"})
        try:
            found = asyncio.run(measure(f"http://127.0.0.1:{port}", given.workers, given.calls, given.trials))
        finally:
            server.terminate()
            server.wait()
    print(f"/healthz in ms ({given.calls} calls, limit {LIMIT_MS:.0f})      median      p95")
    for who, name in ((f"{given.workers} workers wait", "waiting"), ("nobody waits", "idle")):
        print(f"  {who:38} {found[f'{name}_median']:8.1f} {found[f'{name}_p95']:8.1f}")
    print(f"queued trial leased, in ms ({given.trials} trials)  median {found['lease_median']:.1f}", end="")
    print(f", worst {found['lease_worst']:.1f}")
    sys.exit(0 if found["waiting_p95"] < LIMIT_MS else 1)


if __name__ == "__main__":
    main()
