"""A worker that holds a lease, as the API sees it."""

import json
from typing import Any

import httpx

from nas_service.domain.digests import digest_of
from tests.builders import a_request, a_result

LEASES = "/api/v1/leases"
NETWORK = b"weights" * 100


def ask(client: httpx.Client, request_id: str = "request-1", **worker: Any) -> httpx.Response:
    return client.post(LEASES, json=a_request(request_id, **worker).model_dump(mode="json"))


class Holder:
    """A worker that holds a lease."""

    def __init__(self, client: httpx.Client, request_id: str = "request-1", **worker: Any) -> None:
        self._client = client
        self.lease = ask(client, request_id, **worker).json()
        self._path = f"{LEASES}/{self.lease['lease_id']}"
        self._token = {"Lease-Token": str(self.lease["token"])}

    def report(self, step: int = 1, **epochs: Any) -> httpx.Response:
        return self._client.put(self._path, json={"step": step, **epochs}, headers=self._token)

    def finish(self, psnr_db: float = 20.0, **changes: Any) -> httpx.Response:
        return self.send_result(a_result(psnr_db).model_dump(mode="json") | changes)

    def send_result(self, result: dict[str, Any]) -> httpx.Response:
        headers = self._token | {"Content-Type": "application/json"}
        return self._client.post(f"{self._path}/result", content=json.dumps(result), headers=headers)

    def upload(self, content: bytes = NETWORK, digest: str | None = None) -> httpx.Response:
        headers = {"Content-Digest": digest or digest_of(content), "Content-Type": "application/octet-stream"}
        return self._client.put(f"{self._path}/network", content=content, headers=self._token | headers)

    def send_checkpoint(self, content: bytes = NETWORK, digest: str | None = None) -> httpx.Response:
        headers = {"Content-Digest": digest or digest_of(content), "Content-Type": "application/octet-stream"}
        return self._client.put(f"{self._path}/checkpoint", content=content, headers=self._token | headers)

    def checkpoint(self) -> httpx.Response:
        return self._client.get(f"{self._path}/checkpoint", headers=self._token)

    def release(self, reason: str = "shutdown") -> httpx.Response:
        return self._client.post(f"{self._path}/release", json={"reason": reason}, headers=self._token)

    def calls(self) -> list[httpx.Response]:
        checkpoint = [self.send_checkpoint(), self.checkpoint()]
        return [self.report(), *checkpoint, self.finish(), self.upload(), self.release()]


def trial(client: httpx.Client, trial_id: int) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/api/v1/trials/{trial_id}").json()
    return found
