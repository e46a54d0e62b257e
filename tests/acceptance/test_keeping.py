"""Data kept and moved by the commands, beside a service that runs; and files too large to hold in memory."""

import hashlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from nas_service.client import WorkerClient
from nas_service.domain.states import TrialState
from tests.acceptance.service import HOURGLASS, Service
from tests.acceptance.test_search import leased, short
from tests.builders import a_request, a_search_file

MIB = 2**20
LARGE = 500 * MIB

pytestmark = pytest.mark.slow


def hourglass(*arguments: str | Path) -> str:
    done = subprocess.run([*HOURGLASS, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    service = Service(tmp_path, HOURGLASS_LEASE_SECONDS="4", HOURGLASS_HEARTBEAT_SECONDS="0.5")
    yield service
    service.close()


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Service]:
    """A service whose leases outlive a large upload on a slow machine."""
    service = Service(tmp_path, HOURGLASS_LEASE_SECONDS="300")
    yield service
    service.close()


def test_a_search_backed_up_while_it_runs_goes_on_where_it_is_restored(service: Service, tmp_path: Path) -> None:
    service.start_worker()
    search = service.client.submit(short())
    service.wait_for(
        search.id,
        lambda now: leased(now) and sum(arm.trials[TrialState.COMPLETED] for arm in now.arms) >= 5,
        60,
        "runs",
    )
    said = hourglass("backup", tmp_path / "backup.tar", "--data-dir", tmp_path / "home")
    assert re.search(r"the database and [1-9]\d* files", said)
    service.close()
    (tmp_path / "other").mkdir()
    hourglass("restore", tmp_path / "backup.tar", "--data-dir", tmp_path / "other" / "home")
    other = Service(tmp_path / "other", HOURGLASS_LEASE_SECONDS="4", HOURGLASS_HEARTBEAT_SECONDS="0.5")
    try:
        kept = {trial.id for trial in other.client.trials(search.id) if trial.state is TrialState.COMPLETED}
        other.start_worker()
        other.wait_for(search.id, lambda now: now.state == "finished", 100, "the restored search is finished")
        trials = [trial for trial in other.client.trials(search.id) if trial.state is TrialState.COMPLETED]
        assert (len(trials), len(kept) >= 5, kept <= {trial.id for trial in trials}) == (20, True, True)
        for trial in other.client.front(search.id).union.points:
            assert other.client.network(trial.id)
    finally:
        other.close()
    assert "0 files, 0.0 MB would be removed" in hourglass("gc", "--dry-run", "--data-dir", tmp_path / "other" / "home")


def peak_mib(service: Service) -> float:
    """The most memory that the server's process ever had."""
    status = Path(f"/proc/{service.up.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def in_pieces() -> Iterator[bytes]:
    for _ in range(LARGE // MIB):
        yield b"0123456789abcdef" * (MIB // 16)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc to see a process's memory")
def test_a_large_file_goes_to_the_disk_and_back_without_being_held_in_memory(patient: Service) -> None:
    service = patient
    digest = hashlib.sha256()
    for piece in in_pieces():
        digest.update(piece)
    arm = {"arms": {"hourglass": a_search_file()["arms"]["hourglass"]}}
    search = service.client.submit(a_search_file(**arm))
    client = WorkerClient(service.url)
    service.wait_for(search.id, lambda now: now.arms[0].trials[TrialState.QUEUED], 30, "a trial waits")
    lease = client.lease(a_request())
    headers = {"Lease-Token": str(lease.token), "Content-Digest": f"sha256:{digest.hexdigest()}"}
    url = f"{service.url}/api/v1/leases/{lease.lease_id}/checkpoint"
    before = peak_mib(service)
    assert httpx.put(url, content=in_pieces(), headers=headers, timeout=100, trust_env=False).status_code == 204
    after_upload = peak_mib(service)
    again = hashlib.sha256()
    identity = {**headers, "Accept-Encoding": "identity"}
    with httpx.stream("GET", url, headers=identity, timeout=100, trust_env=False) as answer:
        assert (answer.status_code, int(answer.headers["Content-Length"])) == (200, LARGE)
        for piece in answer.iter_bytes():
            again.update(piece)
    after_download = peak_mib(service)
    client.close()
    print(f"peak of the server: {before:.0f} MiB, {after_upload:.0f} after 500 MiB up, {after_download:.0f} after down")
    assert again.digest() == digest.digest()
    assert after_download < before + 60
