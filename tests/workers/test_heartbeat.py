import pytest

from nas_service.client import WorkerClient
from nas_service.database import Database
from nas_service.database.reports import reports_of_trial
from tests.builders import a_request, a_result, enqueued, submitted
from workers.heartbeat import Heartbeat


def test_more_epochs_than_one_call_takes_arrive_in_order_and_in_parts(
    database: Database, client: WorkerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.heartbeat.MAX_REPORTS", 10)
    enqueued(database, submitted(database))
    lease = client.lease(a_request())
    heartbeat = Heartbeat(client, lease)  # its thread is not started: as if the server had been away so long
    for epoch in range(1, 26):
        heartbeat.note_epoch(0, epoch, {"psnr_db": 1.0})
    heartbeat.flush()
    with database.read() as connection:
        found = [row["epoch"] for row in reports_of_trial(connection, lease.trial_id)]
    assert found == list(range(1, 26))


def test_once_the_result_is_in_nothing_more_is_sent(database: Database, client: WorkerClient) -> None:
    enqueued(database, submitted(database))
    lease = client.lease(a_request()).model_copy(update={"heartbeat_seconds": 3600.0})
    with Heartbeat(client, lease) as heartbeat:
        client.send_result(lease, a_result())

    assert heartbeat.order is None  # a call more would have been told that the lease is lost
