"""Files on their way in, on a real connection: nobody waits for them, and one that breaks off leaves nothing."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from nas_service.artifacts import PIECE_BYTES
from nas_service.client import ApiError, Client, WorkerClient
from nas_service.database import Database
from nas_service.domain.digests import digest_of
from nas_service.lifecycle.finish import finish
from nas_service.messages import Lease
from tests.acceptance.service import wait_until
from tests.builders import a_request, a_result, enqueued, submitted

CONTENT = bytes(range(256)) * (3 * PIECE_BYTES // 256) + b"and a rest"


@pytest.fixture
def client(served: str) -> Iterator[WorkerClient]:
    client = WorkerClient(served)
    yield client
    client.close()


@pytest.fixture
def lease(database: Database, client: WorkerClient) -> Lease:
    enqueued(database, submitted(database))
    lease = client.lease(a_request())
    assert lease is not None
    return lease


@contextmanager
def half_sent(served: str, lease: Lease, kind: str) -> Iterator[socket.socket]:
    """An upload of which half has arrived."""
    address = httpx.URL(served)
    head = (
        f"PUT /api/v1/leases/{lease.lease_id}/{kind} HTTP/1.1\r\nHost: 127.0.0.1\r\nLease-Token: {lease.token}\r\n"
        f"Content-Digest: {digest_of(CONTENT)}\r\nContent-Length: {len(CONTENT)}\r\n\r\n"
    )
    with socket.create_connection((address.host, address.port), timeout=10) as connection:
        connection.sendall(head.encode() + CONTENT[: len(CONTENT) // 2])
        yield connection


def parts(home: Path) -> list[Path]:
    return list((home / "artifacts").rglob("*.part"))


@pytest.mark.parametrize("kind", ["network", "checkpoint"])
def test_nobody_waits_for_an_upload(served: str, lease: Lease, tmp_path: Path, kind: str) -> None:
    with half_sent(served, lease, kind) as upload, Client(served) as people:
        wait_until(lambda: parts(tmp_path), 10, "the first half lies on the disk")
        people.pause(lease.search_id)
        assert people.resume(lease.search_id).state == "running"
        upload.sendall(CONTENT[len(CONTENT) // 2 :])
        assert upload.recv(100).startswith(b"HTTP/1.1 204 ")
    (kept,) = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()]
    assert kept.read_bytes() == CONTENT


@pytest.mark.parametrize("kind", ["network", "checkpoint"])
def test_an_upload_that_breaks_off_leaves_nothing(served: str, lease: Lease, tmp_path: Path, kind: str) -> None:
    with half_sent(served, lease, kind):
        wait_until(lambda: parts(tmp_path), 10, "the first half lies on the disk")
    wait_until(lambda: not parts(tmp_path), 10, "it is gone")


def test_who_loses_the_lease_while_the_network_arrives_is_told_so(
    served: str, lease: Lease, tmp_path: Path, client: WorkerClient
) -> None:
    with half_sent(served, lease, "network") as upload:
        wait_until(lambda: parts(tmp_path), 10, "the first half lies on the disk")
        client.say_goodbye("w1")
        upload.sendall(CONTENT[len(CONTENT) // 2 :])
        assert upload.recv(100).startswith(b"HTTP/1.1 410 ")
    assert [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file()] == []


def test_a_lost_lease_is_said_before_the_file_arrives(served: str, lease: Lease, client: WorkerClient) -> None:
    client.say_goodbye("w1")
    with half_sent(served, lease, "network") as upload:
        assert upload.recv(100).startswith(b"HTTP/1.1 410 ")


def test_a_network_that_was_changed_on_the_disk_is_not_given_out(
    served: str, lease: Lease, tmp_path: Path, client: WorkerClient, database: Database
) -> None:
    client.send_network(lease, CONTENT)
    with database.write() as connection:
        finish(connection, lease.lease_id, lease.token, a_result())
    with Client(served) as people:
        assert people.network(lease.trial_id) == CONTENT
        (file,) = (tmp_path / "artifacts").rglob("*.safetensors")
        file.write_bytes(CONTENT[:-1] + b"!")
        with pytest.raises(ApiError, match="was changed after it was written"):
            people.network(lease.trial_id)
