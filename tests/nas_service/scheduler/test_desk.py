"""What the desk hands to the optimizer."""

import pytest

from nas_service.domain.records import HistoryRow
from nas_service.domain.trial import Ask
from nas_service.optimizer import End
from nas_service.scheduler.desk import record_of
from tests.builders import a_search, a_trial


def test_the_standard_errors_of_replicates_reach_the_optimizer() -> None:
    trained = a_trial(cost=1000, psnr_db=21.0)
    row = HistoryRow(
        **{name: getattr(trained, name) for name in ("number", "origin", "state", "architecture", "lr", "costs")},
        reason=None,
        metrics=trained.metrics,
        replicates=[{"lr": 1e-3, "metrics": {"eval": {"psnr_db": psnr_db}}} for psnr_db in (20.0, 22.0)],
        spending=1.0,
        violation=None,
        ask=Ask(),
        asked_after=None,
        ended_event=1,
    )
    outcome = record_of(a_search(), row).outcome
    assert outcome.end is End.COMPLETED
    assert outcome.values == (1000.0, 21.0)
    assert outcome.standard_errors == (None, pytest.approx(1.0))
