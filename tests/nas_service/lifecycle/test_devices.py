"""Searches that name a device: which workers train for them, what they are told to measure, what a result must hold."""

import pytest

from nas_service.database import Database
from nas_service.database.leases import Need, queued_trials_per_need
from nas_service.database.searches import search_by_id
from nas_service.lifecycle.errors import Unsuitable
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.lease import lease
from nas_service.lifecycle.overview import detail_of
from nas_service.messages import Lease
from nas_service.settings import Settings
from tests.builders import a_request, a_result, enqueued, submitted

OBJECTIVES = [{"name": "latency_ms", "scale": "log", "reference": 50}, {"name": "psnr_db"}]


def queued(database: Database, **changes: object) -> int:
    """A search with one queued trial; its id."""
    search_id = submitted(database, **changes)
    enqueued(database, search_id)
    return search_id


def taken(database: Database, device: str, request_id: str = "request-1") -> Lease | None:
    with database.write() as connection:
        return lease(connection, a_request(request_id, id=f"on {device}", device=device), Settings())


@pytest.mark.parametrize(
    ("wanted", "suits", "does_not"),
    [
        ("cpu", "cpu (x86_64)", "NVIDIA H200"),
        ("cpu (x86_64)", "cpu (x86_64)", "cpu (arm64)"),
        ("cuda", "NVIDIA H200", "cpu (x86_64)"),
        ("NVIDIA H200", "NVIDIA H200", "NVIDIA A100"),
    ],
)
def test_only_a_worker_with_the_device_gets_the_trial(
    each_database: Database, wanted: str, suits: str, does_not: str
) -> None:
    queued(each_database, device=wanted)
    assert taken(each_database, does_not) is None
    assert taken(each_database, suits, "request-2") is not None


def test_another_device_is_given_a_search_that_names_none(each_database: Database) -> None:
    queued(each_database, device="cuda", priority=5)
    search_id = queued(each_database)
    assert taken(each_database, "cpu").search_id == search_id


def test_trials_are_counted_by_what_their_worker_needs(each_database: Database) -> None:
    queued(each_database, device="cuda")
    queued(each_database)
    with each_database.read() as connection:
        counts = queued_trials_per_need(connection)
    assert {(need.dataset, need.device): count for need, count in counts.items()} == {
        ("digits", "cuda"): 1,
        ("digits", None): 1,
    }
    assert all(isinstance(need, Need) for need in counts)


def test_a_search_says_that_it_waits_for_its_device(database: Database) -> None:
    search_id = queued(database, device="cuda")
    taken(database, "cpu (x86_64)")
    with database.read() as connection:
        why = detail_of(connection, search_by_id(connection, search_id)).waiting_because
    assert why == "no live worker has the device cuda (those that can read digits have cpu (x86_64))"


def test_a_lease_names_the_costs_to_measure_and_no_others(database: Database) -> None:
    queued(database)
    assert taken(database, "cpu").measure == ()
    queued(database, objectives=OBJECTIVES, device="cpu")
    assert taken(database, "cpu", "request-2").measure == ("latency_ms",)


def test_a_result_without_a_wanted_cost_is_refused(database: Database) -> None:
    queued(database, objectives=OBJECTIVES, device="cpu")
    held = taken(database, "cpu")
    metrics = a_result().metrics
    with pytest.raises(Unsuitable, match=r"lacks metrics\.measured\.latency_ms"), database.write() as connection:
        finish(connection, held.lease_id, held.token, a_result())
    stopped = a_result(metrics={**metrics, "measured": {"latency_ms": 0.0}})
    with pytest.raises(Unsuitable, match="latency_ms must be above 0"), database.write() as connection:
        finish(connection, held.lease_id, held.token, stopped)
    with database.write() as connection:
        trial = finish(
            connection, held.lease_id, held.token, a_result(metrics={**metrics, "measured": {"latency_ms": 1.5}})
        )
    assert trial.metrics["measured"] == {"latency_ms": 1.5}
    assert trial.on_front
