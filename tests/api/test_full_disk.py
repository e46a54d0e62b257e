"""A disk that is full under the artifacts, or under SQLite: said, survived, and over when there is room again."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch

from nas_service.client import WorkerClient
from nas_service.database import Database
from nas_service.database.migrate import upgrade
from nas_service.database.trials import trial_by_id
from nas_service.domain.digests import digest_of
from nas_service.domain.states import TrialState
from nas_service.messages import Lease
from tests.builders import a_request, a_search_file, enqueued, on_a_port, submitted
from workers.bookshelf import Bookshelf
from workers.trial import work_on

MIB = 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, for root on Linux."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small file system can be mounted here ({error})")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def url(database: Database, tmp_path: Path, small_disk: Path) -> Iterator[str]:
    with on_a_port(database, tmp_path, artifacts=str(small_disk), min_free_bytes=0) as url:
        yield url


@pytest.fixture
def client(url: str) -> Iterator[WorkerClient]:
    client = WorkerClient(url)
    yield client
    client.close()


def fill(folder: Path) -> Path:
    """A file that takes all the room that is left."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return folder / "filler"


def a_lease(database: Database, client: WorkerClient) -> Lease:
    enqueued(database, submitted(database))
    lease = client.lease(a_request())
    assert lease is not None
    return lease


def send(url: str, lease: Lease, kind: str, content: bytes) -> httpx.Response:
    headers = {"Lease-Token": str(lease.token), "Content-Digest": digest_of(content)}
    path = f"{url}/api/v1/leases/{lease.lease_id}/{kind}"
    return httpx.put(path, content=content, headers=headers, trust_env=False)


@pytest.mark.parametrize("kind", ["network", "checkpoint"])
def test_a_file_that_does_not_fit_is_refused_and_leaves_nothing(
    database: Database, url: str, client: WorkerClient, small_disk: Path, kind: str
) -> None:
    lease = a_lease(database, client)
    refused = send(url, lease, kind, bytes(3 * MIB))
    assert refused.status_code == 507
    assert "does not take the file (No space left on device); make room there" in refused.json()["error"]
    assert [path for path in small_disk.rglob("*") if path.is_file()] == []
    assert send(url, lease, kind, bytes(MIB)).status_code == 204


def test_a_store_that_may_not_be_written_is_said_to_be_so(
    database: Database, url: str, client: WorkerClient, small_disk: Path
) -> None:
    lease = a_lease(database, client)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    refused = send(url, lease, "checkpoint", b"state")
    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)
    assert (refused.status_code, "Read-only file system" in refused.json()["error"]) == (507, True)
    assert send(url, lease, "checkpoint", b"state").status_code == 204


def test_the_trial_whose_network_finds_no_room_fails_with_that_reason(
    database: Database, url: str, client: WorkerClient, small_disk: Path
) -> None:
    lease = a_lease(database, client)
    fill(small_disk)
    work_on(lease, client, Bookshelf(data_dir=None, fetch=False), torch.device("cpu"), lambda: False)
    with database.read() as connection:
        trial = trial_by_id(connection, lease.trial_id)
    assert trial.state is TrialState.FAILED
    assert "the server refused the result: the artifact store does not take the file (No space left" in trial.message


def test_a_full_disk_under_sqlite_is_said_and_over_when_there_is_room(small_disk: Path, tmp_path: Path) -> None:
    upgrade(address := f"sqlite:///{small_disk / 'hourglass.db'}")
    database = Database(address)
    with on_a_port(database, tmp_path) as url, httpx.Client(base_url=f"{url}/api/v1", trust_env=False) as http:
        assert http.post("/searches", json=a_search_file()).status_code == 201
        filler = fill(small_disk)
        answers = [http.post("/searches", json=a_search_file(name="x" * 200)) for _ in range(20)]
        assert {answer.status_code for answer in answers} <= {201, 503, 507}
        refused = answers[-1]
        assert refused.status_code != 201
        assert http.get("/searches").status_code == 200
        filler.unlink()
        assert http.post("/searches", json=a_search_file()).status_code == 201
        stored = sum(answer.status_code == 201 for answer in answers) + 2
        assert len(http.get("/searches").json()["items"]) == stored
    database.close()
