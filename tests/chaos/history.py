"""What a storm left behind, as plain rows: every table that matters, the files, and the workers' diaries.

Read past our own queries on purpose: the checks must not share their faults.
"""

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

Row = dict[str, Any]


@dataclass(frozen=True)
class History:
    """Rows of the tables; JSON columns are parsed."""

    searches: list[Row] = field(default_factory=list)
    arms: list[Row] = field(default_factory=list)
    trials: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)  # by search, then number
    reports: list[Row] = field(default_factory=list)
    artifacts: list[Row] = field(default_factory=list)  # that have not expired
    files: dict[str, str] = field(default_factory=dict)  # {path below the store: digest}
    diary: list[Row] = field(default_factory=list)  # of all workers, see `stub_worker`

    def events_of_trials(self) -> dict[int, list[Row]]:
        """Each trial's events in order."""
        by_trial: dict[int, list[Row]] = defaultdict(list)
        for event in self.events:
            if event["trial_id"] is not None:
                by_trial[event["trial_id"]].append(event)
        return by_trial

    def grants(self) -> dict[int, list[float]]:
        """When each trial was leased: the lease with token n is the nth."""
        return {
            trial: [event["at"] for event in events if event["kind"] == "trial_leased"]
            for trial, events in self.events_of_trials().items()
        }


def read_history(database_url: str, store: Path, diaries: list[Path]) -> History:
    """Read everything in one transaction, and the files after it."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")

        def rows(query: str) -> list[Row]:
            return connection.execute(query).fetchall()  # type: ignore[call-overload, no-any-return]

        return History(
            searches=rows("SELECT * FROM searches ORDER BY id"),
            arms=rows("SELECT * FROM arms ORDER BY search_id, position"),
            trials=rows("SELECT * FROM trials ORDER BY id"),
            events=rows("SELECT * FROM events ORDER BY search_id, number"),
            reports=rows("SELECT * FROM reports"),
            artifacts=rows(
                "SELECT * FROM artifacts WHERE expires_at IS NULL"
                " OR expires_at > extract(epoch from clock_timestamp()) + 60"
            ),
            files=_digests(store),
            diary=[json.loads(line) for path in diaries if path.exists() for line in path.read_text().splitlines()],
        )


def _digests(store: Path) -> dict[str, str]:
    """{path: digest} of every whole file."""
    return {
        str(path.relative_to(store)): f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in store.rglob("*")
        if path.is_file() and path.suffix != ".part"
    }
