"""The embedded service with keys, as real processes: made before it starts; its own workers need none."""

import os
import subprocess
from pathlib import Path

import httpx
import pytest

from nas_service.client import Client, NotAllowed
from tests.acceptance.service import HOURGLASS, wait_until
from tests.builders import a_search_file

pytestmark = pytest.mark.slow


def key_of(home: Path, name: str, role: str) -> str:
    command = [*HOURGLASS, "keys", "create", name, "--role", role, "--data-dir", str(home)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_a_service_for_everybody_is_closed_to_whoever_has_no_key(tmp_path: Path) -> None:
    home, log = tmp_path / "home", (tmp_path / "log").open("w+")
    key = key_of(home, "ada", "submitter")
    command = [*HOURGLASS, "up", "--host", "0.0.0.0", "--port", "0", "--workers", "1", "--data-dir", str(home)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    try:
        assert service.stdout is not None
        url = next(word for word in service.stdout.readline().split() if word.startswith("http://"))
        assert httpx.get(f"{url}/").status_code == 303
        with Client(url) as stranger, pytest.raises(NotAllowed, match="needs an API key"):
            stranger.searches()
        with Client(url, key) as client:
            search = client.submit(a_search_file(budget={"trials_per_arm": 2}))
            wait_until(lambda: client.search(search.id).state == "finished", 90, "its own worker trains the search")
            assert client.search(search.id).owner == "ada"
            assert client.me().usage.trials == 2
            subprocess.run([*HOURGLASS, "keys", "revoke", "ada", "--data-dir", str(home)], check=True)
            with pytest.raises(NotAllowed, match="the API key ada was revoked"):
                client.me()
        arguments = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
        of_workers = [line for line in arguments.splitlines() if url in line]
        assert of_workers
        assert not any("hg_" in line for line in of_workers)
    finally:
        service.terminate()
        service.communicate(timeout=30)
        log.seek(0)
        assert "hg_" not in log.read()
        log.close()
