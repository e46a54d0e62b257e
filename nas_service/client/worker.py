"""The calls that a worker makes. Each may be repeated safely; those without which it cannot go on are."""

from typing import Protocol

from pydantic import SecretStr

from nas_service.client.errors import ApiError
from nas_service.client.transport import Transport
from nas_service.domain.digests import digest_of
from nas_service.messages import Lease, LeaseRequest, Release, Report, ReportAnswer, Result

API = "/api/v1"


class Holder(Protocol):
    """What names a lease and proves to be its holder."""

    @property
    def lease_id(self) -> str:
        """Which lease."""

    @property
    def token(self) -> int:
        """Its fencing token."""


class WorkerClient:
    """A worker's connection to the service. Its calls raise LeaseLost, ApiError or ServerUnreachable."""

    def __init__(self, server: str, api_key: SecretStr | None = None) -> None:
        self._transport = Transport(server, api_key)

    @property
    def server(self) -> str:
        """The server's address."""
        return self._transport.server

    def lease(self, request: LeaseRequest) -> Lease | None:
        """Ask once for a trial; the server may hold the call. None when there is nothing to train."""
        response = self._transport.call("POST", f"{API}/leases", request)
        return None if response.status_code == 204 else Lease.model_validate_json(response.content)

    def report(self, lease: Lease, report: Report) -> ReportAnswer:
        """Send one heartbeat with its news."""
        response = self._transport.call("PUT", self._at(lease), report, headers=_fence(lease))
        return ReportAnswer.model_validate_json(response.content)

    def send_network(self, lease: Holder, content: bytes) -> None:
        """Bring the trained network (safetensors), once; before the result."""
        headers = {**_fence(lease), **_facts_of(content)}
        self._transport.call("PUT", f"{self._at(lease)}/network", content=content, headers=headers)

    def send_checkpoint(self, lease: Lease, content: bytes) -> None:
        """Bring the state of the training, once: a lost one is replaced by the next."""
        headers = {**_fence(lease), **_facts_of(content)}
        self._transport.call("PUT", f"{self._at(lease)}/checkpoint", content=content, headers=headers)

    def checkpoint(self, lease: Lease) -> bytes:
        """The state that an earlier holder of the trial left; raises ApiError too when it arrives damaged."""
        headers = {**_fence(lease), "Accept-Encoding": "identity"}  # weights do not shrink
        response = self._transport.call_until_answered("GET", f"{self._at(lease)}/checkpoint", headers=headers)
        if digest_of(response.content) != lease.checkpoint:
            raise ApiError(response.status_code, "the checkpoint arrived damaged, or is not the lease's", [])
        return response.content

    def send_result(self, lease: Holder, result: Result) -> None:
        """End the trial; tried once."""
        self._transport.call("POST", f"{self._at(lease)}/result", result, headers=_fence(lease))

    def release(self, lease: Lease, message: Release) -> None:
        """Give the trial back; tried for a few seconds only, the lease expires anyway."""
        self._transport.call_until_answered(
            "POST", f"{self._at(lease)}/release", message, patience_seconds=5, headers=_fence(lease)
        )

    def say_goodbye(self, worker_id: str) -> None:
        """Tell the server that this worker ends."""
        self._transport.call("DELETE", f"{API}/workers/{worker_id}")

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def _at(self, lease: Holder) -> str:
        return f"{API}/leases/{lease.lease_id}"


def _fence(lease: Holder) -> dict[str, str]:
    return {"Lease-Token": str(lease.token)}


def _facts_of(content: bytes) -> dict[str, str]:
    return {"Content-Digest": digest_of(content), "Content-Type": "application/octet-stream"}
