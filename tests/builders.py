"""Builders: each makes a small valid thing; a test names only what it is about."""

import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from starlette.exceptions import StarletteDeprecationWarning

from nas_service.artifacts import ArtifactStore
from nas_service.database import Database
from nas_service.database.artifacts import ArtifactKind
from nas_service.domain.architecture import Architecture
from nas_service.domain.arm import Arm
from nas_service.domain.costs import Costs
from nas_service.domain.digests import digest_of
from nas_service.domain.records import StoredSearch
from nas_service.domain.roles import ANYBODY_HERE, Quotas, Role
from nas_service.domain.search import Search
from nas_service.domain.states import SearchState
from nas_service.domain.trial import Trial
from nas_service.lifecycle import control
from nas_service.lifecycle.arrivals import Lessee, keep_file, place_for
from nas_service.lifecycle.bring import bring
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.keys import create_key
from nas_service.lifecycle.lease import lease
from nas_service.messages import (
    Brought,
    Enqueue,
    Lease,
    LeaseRequest,
    OutsideResult,
    OutsideResults,
    Result,
    WorkerInfo,
)
from nas_service.settings import Settings

ARMS: dict[str, dict[str, Any]] = {
    "hourglass": {"family": "hourglass", "d_z": [65, 128], "d_h": [4, 32], "depth": [1, 4], "lr": [1e-3, 1e-2]},
    "plain": {
        "family": "conventional",
        "w_in": "none",
        "w_out": "none",
        "d_z": 64,
        "d_h": [65, 256],
        "depth": [1, 4],
        "lr": [1e-3, 1e-2],
    },
}


def a_search_file(**changes: Any) -> dict[str, Any]:
    """A search on digits as a user would write it."""
    return {
        "name": "test",
        "dataset": {"name": "digits"},
        "task": {"kind": "denoising"},
        "recipe": {"epochs": 2, "batch_size": 128},
        "arms": {"hourglass": ARMS["hourglass"]},
        "objectives": [{"name": "parameters_trainable", "scale": "log"}, {"name": "psnr_db"}],
        "budget": {"trials_per_arm": 4},
        "sampler": "random",
    } | changes


def a_search(**changes: Any) -> Search:
    """The same, validated."""
    return Search.model_validate(a_search_file(**changes))


def submitted(database: Database, owner_key_id: int | None = None, **changes: Any) -> int:
    """Submit a search; returns its id."""
    with database.write() as connection:
        return control.submit(connection, a_search(**changes), owner_key_id).id


def a_worker(**changes: Any) -> WorkerInfo:
    """A worker that has digits."""
    facts = {"id": "w1", "name": "worker one", "device": "cpu", "version": "0", "datasets": {"digits": None}}
    return WorkerInfo.model_validate(facts | changes)


def a_request(request_id: str = "request-1", **worker: Any) -> LeaseRequest:
    """A request for a lease that does not wait."""
    return LeaseRequest(request_id=request_id, worker=a_worker(**worker), wait_seconds=0)


def a_result(psnr_db: float = 20.0, **changes: Any) -> Result:
    """A completed result of that quality."""
    metrics = {"psnr_db": psnr_db, "ssim": 0.5, "mse": 0.01}
    facts = {
        "outcome": "completed",
        "metrics": {"eval": metrics, "test": metrics},
        "trivial": {"psnr_db": 12.0, "ssim": 0.1, "mse": 0.06},
        "seconds": 1.0,
        "epochs_done": 2,
    }
    return Result.model_validate(facts | changes)


def an_architecture(**changes: Any) -> Architecture:
    """A small hourglass."""
    return Architecture.model_validate({"family": "hourglass", "d_z": 65, "d_h": 8, "depth": 2} | changes)


def an_arm(**changes: Any) -> Arm:
    """The hourglass arm of `ARMS`."""
    return Arm.model_validate(ARMS["hourglass"] | changes)


def a_trial(trial_id: int = 1, cost: int = 1000, psnr_db: float = 20.0, **changes: Any) -> Trial:
    """A completed trial with that many parameters and that quality."""
    costs = dict.fromkeys(Costs.model_fields, cost)
    facts = {
        "id": trial_id,
        "search_id": 1,
        "arm": "hourglass",
        "number": trial_id - 1,
        "state": "completed",
        "origin": "sampler",
        "architecture": an_architecture(),
        "lr": 1e-3,
        "costs": costs,
        "metrics": {"eval": {"psnr_db": psnr_db, "ssim": 0.5, "mse": 0.01}},
        "seed": 42,
        "queued_at": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Trial.model_validate(facts | changes)


def a_stored_search(trivial: dict[str, float] | None = None, **changes: Any) -> StoredSearch:
    """A running search as stored; `changes` are those of its file."""
    spec = a_search(**changes)
    return StoredSearch(
        id=1,
        name=spec.name,
        state=SearchState.RUNNING,
        reason=None,
        spec=spec,
        budget=spec.budget.total,
        trivial=trivial,
        last_event=1,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        finished_at=None,
    )


def enqueued(database: Database, search_id: int, arm: str = "hourglass", **sizes: Any) -> int:
    """Queue an architecture as a user would; returns the trial's id."""
    request = {"arm": arm, "d_z": 65, "d_h": 8, "depth": 1, "lr": 1e-3} | sizes
    with database.write() as connection:
        return control.enqueue(connection, search_id, Enqueue.model_validate(request))


def an_outside_result(psnr_db: float = 20.0, **changes: Any) -> OutsideResult:
    """A small hourglass of that quality, measured elsewhere."""
    metrics = {"eval": {"psnr_db": psnr_db, "ssim": 0.5, "mse": 0.01}}
    sizes = {"arm": "hourglass", "d_z": 65, "d_h": 8, "depth": 1, "lr": 1e-3}
    return OutsideResult.model_validate(sizes | {"metrics": metrics, "source": "a paper"} | changes)


def brought(database: Database, search_id: int, *results: OutsideResult) -> Brought:
    """Bring results to a search."""
    with database.write() as connection:
        return bring(connection, search_id, OutsideResults(results=list(results)))


def leased(database: Database, home: Path, **request: Any) -> Lease:
    """Lease the next trial; there must be one."""
    with database.write() as connection:
        granted = lease(connection, a_request(**request), Settings(home=home))
    assert granted is not None
    return granted


def completed(database: Database, home: Path, search_id: int, psnr_db: float = 20.0, **sizes: Any) -> int:
    """Queue, lease and complete a trial of that quality; returns its id."""
    trial_id = enqueued(database, search_id, **sizes)
    granted = leased(database, home, request_id=f"request-{trial_id}")
    with database.write() as connection:
        finish(connection, granted.lease_id, granted.token, a_result(psnr_db))
    return trial_id


def brought_file(database: Database, store: ArtifactStore, held: Lease, content: bytes, kind: ArtifactKind) -> None:
    """Take a file of the lease's holder into the store."""
    with store.part(place_for(database, Lessee(held.lease_id, held.token), kind)) as part:
        part.write(content)
        keep_file(database, Lessee(held.lease_id, held.token), kind, part, digest_of(content))


@contextmanager
def on_a_port(database: Database, home: Path, **settings: Any) -> Iterator[str]:
    """The application on a free port, in a thread, while the block lasts; its address."""
    import uvicorn

    from api.app import Server, create_app

    listener = socket.create_server(("127.0.0.1", 0))
    often: dict[str, Any] = {"heartbeat_seconds": 0.05, "poll_seconds": 0.02}
    app = create_app(Settings(home=home, database_url=database.url, **(often | settings)))
    server = Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def a_key(database: Database, role: str, name: str = "", days: float | None = None, **quotas: int) -> str:
    """Make an API key of that role, named like it; returns its text."""
    with database.write() as connection:
        _, text = create_key(connection, name or role, Role(role), days, Quotas(**quotas), ANYBODY_HERE)
    return text


def bearing(key: str) -> dict[str, str]:
    """The header of a call with that key."""
    return {"Authorization": f"Bearer {key}"}


def serving(database_url: str, home: Path, own_key: str | None = None, **settings: Any) -> httpx.Client:
    """The application with its bell running while the block lasts, spoken to from this machine."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StarletteDeprecationWarning)  # it prefers httpx2; our own client speaks httpx
        from starlette.testclient import TestClient
    from api.app import create_app

    app = create_app(Settings(home=home, database_url=database_url, poll_seconds=0.01, **settings), own_key)
    return TestClient(app, base_url="http://127.0.0.1")
