"""What workers call: lease, report, checkpoint, result, network, release, goodbye. Each may be repeated safely."""

import asyncio
from time import monotonic
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response

from api.bell import Bell
from api.dependencies import BellOf, DatabaseOf, SettingsOf, Shortage, Store, Writing
from api.errors import CONFLICT, LEASE_LOST, NOT_FOUND, UNPROCESSABLE
from api.files import FILE_BODY, UPLOAD, file_response, receive_file
from api.rules import Laborer
from nas_service.artifacts import ArtifactStore
from nas_service.database import Database
from nas_service.domain.digests import DIGEST_PATTERN
from nas_service.domain.roles import Caller
from nas_service.domain.trial import Trial
from nas_service.lifecycle.arrivals import Lessee, open_checkpoint
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.keys import require_standing
from nas_service.lifecycle.lease import dismiss, lease, release, report
from nas_service.lifecycle.space import shortage_of_space
from nas_service.messages import Lease, LeaseRequest, Release, Report, ReportAnswer, Result
from nas_service.settings import Settings

router = APIRouter(tags=["workers"])

SLICE_SECONDS = 1.0

LeaseId = Annotated[str, Path(min_length=1, max_length=64)]
Token = Annotated[int, Header(alias="Lease-Token", ge=0, lt=2**31)]
Digest = Annotated[str, Header(alias="Content-Digest", pattern=DIGEST_PATTERN)]


@router.post(
    "/leases", response_model=Lease, responses=CONFLICT | UNPROCESSABLE | {204: {"description": "nothing to train"}}
)
async def request_lease(
    request: LeaseRequest,
    caller: Laborer,
    call: Request,
    database: DatabaseOf,
    bell: BellOf,
    store: Store,
    settings: SettingsOf,
    shortage: Shortage,
) -> Lease | Response:
    """Lease the next trial; waits up to `wait_seconds` for one. Nothing is leased while the disk lacks space."""
    deadline = monotonic() + request.wait_seconds
    while (granted := await asyncio.to_thread(_try_lease, database, store, request, settings, caller)) is None:
        if not await _wait_for_trial(request, call, bell, deadline, is_short=shortage is not None):
            return Response(status_code=204)
    return granted


@router.put("/leases/{lease_id}", responses=LEASE_LOST | UNPROCESSABLE)
def put_report(
    lease_id: LeaseId, caller: Laborer, token: Token, news: Report, connection: Writing, settings: SettingsOf
) -> ReportAnswer:
    """Heartbeat and report: new per-epoch metrics, and whether to go on."""
    return report(connection, lease_id, token, news, settings, caller.key_id)


@router.post("/leases/{lease_id}/result", responses=LEASE_LOST | UNPROCESSABLE)
def post_result(lease_id: LeaseId, caller: Laborer, token: Token, result: Result, connection: Writing) -> Trial:
    """End the trial. The same result again is accepted, a different one is not."""
    return finish(connection, lease_id, token, result, caller.key_id)


@router.put("/leases/{lease_id}/checkpoint", status_code=204, responses=UPLOAD, openapi_extra=FILE_BODY)
async def put_checkpoint(
    lease_id: LeaseId,
    caller: Laborer,
    token: Token,
    digest: Digest,
    call: Request,
    database: DatabaseOf,
    store: Store,
) -> None:
    """Bring the state of the training; it takes the place of the one before."""
    await receive_file(call, database, store, Lessee(lease_id, token, caller.key_id), "checkpoint", digest)


@router.get("/leases/{lease_id}/checkpoint", response_class=Response, responses=NOT_FOUND | LEASE_LOST | UNPROCESSABLE)
def get_checkpoint(lease_id: LeaseId, caller: Laborer, token: Token, database: DatabaseOf, store: Store) -> Response:
    """The state from which the lease's holder goes on; its digest stands in the lease."""
    return file_response(open_checkpoint(database, store, Lessee(lease_id, token, caller.key_id)))


@router.put("/leases/{lease_id}/network", status_code=204, responses=UPLOAD, openapi_extra=FILE_BODY)
async def put_network(
    lease_id: LeaseId,
    caller: Laborer,
    token: Token,
    digest: Digest,
    call: Request,
    database: DatabaseOf,
    store: Store,
) -> None:
    """Bring the trained network (safetensors) before the result."""
    await receive_file(call, database, store, Lessee(lease_id, token, caller.key_id), "network", digest)


@router.post("/leases/{lease_id}/release", status_code=204, responses=LEASE_LOST | UNPROCESSABLE)
def post_release(lease_id: LeaseId, caller: Laborer, token: Token, message: Release, connection: Writing) -> None:
    """Give the trial back; this uses no attempt."""
    release(connection, lease_id, token, message, caller.key_id)


async def _wait_for_trial(request: LeaseRequest, call: Request, bell: Bell, deadline: float, is_short: bool) -> bool:
    """Wait in slices: a trial is not for a worker that has died or gone while it waited."""
    worker = request.worker
    usable = {key: digest for key, digest in worker.datasets.items() if key not in worker.problems}
    if is_short:  # no trial may be leased, so none shall ring
        usable = {}
    while (rest := deadline - monotonic()) > 0 and not bell.closed:
        rung = await bell.wait_for_trial(usable, worker.device, min(rest, SLICE_SECONDS))
        if await call.is_disconnected():
            return False
        if rung:
            return True
    return False


def _try_lease(
    database: Database, store: ArtifactStore, request: LeaseRequest, settings: Settings, caller: Caller
) -> Lease | None:
    shortage = shortage_of_space(store, settings)
    with database.write() as connection:
        require_standing(connection, caller)  # the call may have waited
        return lease(connection, request, settings, shortage, caller.key_id)


@router.delete("/workers/{worker_id}", status_code=204, responses=NOT_FOUND | UNPROCESSABLE)
def goodbye(worker_id: LeaseId, caller: Laborer, connection: Writing) -> None:
    """A worker that ends says so; what it still holds goes back to the queue."""
    dismiss(connection, worker_id, caller.key_id)
