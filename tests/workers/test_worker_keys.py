"""A worker whose key is refused ends: at once when it holds nothing, else after it dropped its trial."""

import os
import subprocess
import sys

import pytest

from nas_service.database import Database
from nas_service.domain.roles import ANYBODY_HERE
from nas_service.lifecycle.keys import revoke_key
from tests.acceptance.service import wait_until
from tests.builders import a_key, enqueued, submitted

pytestmark = pytest.mark.slow


def started(served: str, key: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "nas_service.cli", "worker", "--server", served]
    environment = {**os.environ, "HOURGLASS_API_KEY": key}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)


def test_a_worker_with_a_refused_key_ends_with_one_error(database: Database, served: str) -> None:
    key = a_key(database, "viewer", "eve")
    said = started(served, key).communicate(timeout=60)[1]
    errors = [line for line in said.splitlines() if "error" in line]
    assert errors == ["error: this needs a key of the role worker or admin (the key eve is a viewer's)"]
    assert key not in said


def test_a_worker_whose_key_is_revoked_drops_its_trial_and_ends(database: Database, served: str) -> None:
    key = a_key(database, "worker", "gpu")
    trial_id = enqueued(database, submitted(database, recipe={"epochs": 10_000, "batch_size": 16}))
    worker = started(served, key)
    try:
        wait_until(lambda: reported(database, trial_id) >= 2, 60, "the trial is being trained")
        with database.write() as connection:
            revoke_key(connection, "gpu", ANYBODY_HERE)
        said = worker.communicate(timeout=60)[1]
    finally:
        worker.kill()
    assert worker.returncode == 1
    assert said.splitlines()[-1] == "error: the API key gpu was revoked; ask an admin for another one"


def reported(database: Database, trial_id: int) -> int:
    from nas_service.database.reports import reports_of_trial

    with database.read() as connection:
        return len(reports_of_trial(connection, trial_id))
