"""Nothing is lost in a short storm; `make chaos` makes a long one."""

from pathlib import Path

import pytest

from tests.chaos.storm import Storm, run


@pytest.mark.timeout(240)
def test_every_promise_holds_after_a_storm(tmp_path: Path) -> None:
    outcome = run(Storm(seconds=40, seed=1, workers=16, trials_per_arm=12, seconds_to_end=120), tmp_path)
    print(outcome.text())
    assert outcome.violations == []
    hit = " ".join(outcome.faults)
    for who in ("worker killed", "worker frozen", "server killed", "scheduler killed", "PostgreSQL killed", "dropped"):
        assert who in hit
    assert outcome.counts["trials completed"] > 20
