"""The server against its own OpenAPI document, by Schemathesis with every check on; its calls reach real rows.

Not in the document and so not here: the dashboard's pages, /static. That what is forbidden is forbidden has tests of
its own.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from nas_service.artifacts import ArtifactStore
from nas_service.database import Database
from nas_service.domain.roles import Role
from nas_service.lifecycle import control
from nas_service.settings import Settings
from tests.builders import a_key, bearing, brought_file, completed, enqueued, leased, on_a_port, submitted

SCHEMATHESIS = [sys.executable, str(Path(sys.executable).with_name("schemathesis"))]
# A schema cannot say everything: these may refuse with 422 what their schema allows. 410 is their 404 for a lease.
RULES_BEYOND_THE_SCHEMA = ("/searches", "/results", "/trials", "/result", "/checkpoint", "/network")


def seeded(database: Database, home: Path, key: str | None) -> dict[str, list[object]]:
    """Rows in every state, of that key's; returns ids for the parameters of calls, and one that is not there."""
    owner = None if key is None else int(key.split("_")[1])
    store = ArtifactStore(Settings(home=home).url_of_artifacts)
    running = submitted(database, owner, budget={"trials_per_arm": 100}, name="running")
    done = [completed(database, home, running, 20.0 + n, d_z=70 + n) for n in range(3)]
    ended = submitted(database, owner, name="cancelled")
    paused = submitted(database, owner, name="paused")
    with database.write() as connection:
        control.cancel(connection, ended)
        control.pause(connection, paused)
    held = []
    for n in range(4):
        enqueued(database, running, d_z=90 + n)
        held.append(leased(database, home, request_id=f"seed-request-{n}", id=f"w{n}"))
    brought_file(database, store, held[0], b"network", "network")
    waiting = [enqueued(database, running, d_z=100 + n) for n in range(5)]
    trials = [*done, *(lease.trial_id for lease in held), *waiting]
    return {
        "search_id": [running, ended, paused, 999_999],
        "trial_id": [*trials, 999_999],
        "lease_id": [lease.lease_id for lease in held],
        "Lease-Token": [1],
        "worker_id": ["w1", "w2"],
    }


def configuration(ids: dict[str, list[object]], examples: int, steps: int) -> str:
    """The file schemathesis.toml of a run."""
    patterns = "|".join(f"{path}$" for path in RULES_BEYOND_THE_SCHEMA)
    places = {"Lease-Token": "header"}
    dictionaries = [f"{name.lower()} = {{ values = {json.dumps(values)} }}" for name, values in ids.items()]
    parameters = [
        f'"{places.get(name, "path")}.{name}" = {{ dictionary = "{name.lower()}", probability = 0.8 }}' for name in ids
    ]
    gone = '"2xx", "401", "403", "404", "409", "410"'
    return "\n".join(
        [
            'suppress-health-check = ["all"]',
            "request-timeout = 20",
            "max-stream-events = 1",
            "warnings = false",
            "[dictionaries]",
            *dictionaries,
            "[parameters]",
            *parameters,
            "[generation]",
            f"max-examples = {examples}",
            "[phases.stateful]",
            f"generation.max-examples = {steps}",
            "[checks.positive_data_acceptance]",
            f"expected-statuses = [{gone}]",
            "[[operations]]",
            f'include-path-regex = "({patterns})"',
            f'checks.positive_data_acceptance.expected-statuses = [{gone}, "422"]',
        ]
    )


def the_document(url: str, key: str | None) -> dict[str, Any]:
    """The server's own document; as long as there are no keys, without its word that calls need one."""
    document: dict[str, Any] = httpx.get(f"{url}/openapi.json", headers=bearing(key) if key else {}).json()
    for path in document["paths"].values():
        for operation in path.values():
            if key is None:
                operation.pop("security", None)
    return document


def calls_made(database: Database, home: Path, role: str | None, phases: str, examples: int, steps: int) -> int:
    """Let Schemathesis call everything, with a key of that role or without any; how many calls it made."""
    key = None if role is None else a_key(database, role)
    file = home / "schemathesis.toml"
    file.write_text(configuration(seeded(database, home, key), examples, steps))
    options = ["--checks", "all", "--phases", phases, "--seed", "1", "--no-color"]
    options += [] if key is None else ["--header", f"Authorization: Bearer {key}"]
    with on_a_port(database, home, requests_per_minute=1_000_000) as url:
        document = home / "openapi.json"
        document.write_text(json.dumps(the_document(url, key)))
        run = subprocess.run(
            [*SCHEMATHESIS, "--config-file", str(file), "run", str(document), "--url", url, *options],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": "tests.api.contract_hooks",
                "PYTHONPATH": os.pathsep.join(sys.path),
            },
            cwd=home,
        )
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-2000:]
    return int(re.search(r"([\d,]+) generated", run.stdout)[1].replace(",", ""))


def test_no_call_contradicts_the_openapi_document(postgres_database: Database, tmp_path: Path) -> None:
    assert calls_made(postgres_database, tmp_path, None, "fuzzing,stateful", examples=6, steps=6) >= 200


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("role", "phases", "least"),
    [(None, "coverage,fuzzing,stateful", 3000), *((role, "fuzzing,stateful", 600) for role in Role)],
)
def test_none_of_many_calls_of_any_role_contradicts_it(
    postgres_database: Database, tmp_path: Path, role: str | None, phases: str, least: int
) -> None:
    calls = calls_made(postgres_database, tmp_path, role, phases, examples=30, steps=30)
    print(f"{calls} calls, none contradicts the document")
    assert calls >= least  # together more than 5,000
