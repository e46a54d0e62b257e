"""Quotas of a key on both databases: searches running, trials, bytes."""

import threading
from pathlib import Path

import pytest

from nas_service.artifacts import ArtifactStore, digest_of
from nas_service.database import Database
from nas_service.database.keys import key_by_name, usage_of
from nas_service.database.leases import queued_trials_per_need
from nas_service.database.searches import search_by_id
from nas_service.domain.roles import Usage
from nas_service.lifecycle import control
from nas_service.lifecycle.errors import Conflict
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.lease import lease
from nas_service.lifecycle.networks import store_network
from nas_service.lifecycle.overview import detail_of
from nas_service.messages import Lease
from nas_service.settings import Settings
from tests.builders import (
    a_key,
    a_request,
    a_result,
    a_search,
    a_worker,
    an_outside_result,
    brought,
    enqueued,
    submitted,
)


def owner(database: Database, **quotas: int) -> int:
    a_key(database, "submitter", "ada", **quotas)
    with database.read() as connection:
        key = key_by_name(connection, "ada")
    assert key is not None
    return key.id


def asked(database: Database, number: int = 1) -> Lease | None:
    with database.write() as connection:
        return lease(connection, a_request(f"request-{number}"), Settings())


def why_waiting(database: Database, search_id: int) -> str | None:
    with database.read() as connection:
        search = search_by_id(connection, search_id)
        assert search is not None
        return detail_of(connection, search).waiting_because


def usage(database: Database, key_id: int) -> Usage:
    with database.read() as connection:
        return usage_of(connection, key_id)


def test_a_search_more_than_may_run_is_refused_until_one_is_paused(each_database: Database) -> None:
    key_id = owner(each_database, max_running_searches=1)
    first = submitted(each_database, key_id)
    with pytest.raises(Conflict, match="ada has 1 searches running and may have 1"):
        submitted(each_database, key_id)
    with each_database.write() as connection:
        waiting = control.submit(connection, a_search(), key_id, paused=True).id
    with pytest.raises(Conflict, match="max_running_searches"), each_database.write() as connection:
        control.resume(connection, waiting)
    with each_database.write() as connection:
        control.pause(connection, first)
        assert control.resume(connection, waiting).state == "running"


def test_a_finished_search_is_extended_only_when_it_may_run(each_database: Database) -> None:
    key_id = owner(each_database, max_running_searches=1)
    done = submitted(each_database, key_id, budget={"trials_per_arm": 1})
    enqueued(each_database, done)
    held = asked(each_database)
    assert held is not None
    with each_database.write() as connection:
        finish(connection, held.lease_id, held.token, a_result())
        assert control.finish_if_done(connection, done)
    running = submitted(each_database, key_id)
    with pytest.raises(Conflict, match="max_running_searches"), each_database.write() as connection:
        control.extend(connection, done, 5)
    with each_database.write() as connection:
        control.cancel(connection, running)
        assert control.extend(connection, done, 5).state == "running"


def test_two_submissions_at_once_do_not_both_get_the_last_place(postgres_database: Database) -> None:
    key_id = owner(postgres_database, max_running_searches=1)
    refused: list[Conflict] = []

    def submit() -> None:
        try:
            submitted(postgres_database, key_id)
        except Conflict as error:
            refused.append(error)

    threads = [threading.Thread(target=submit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 3


def test_over_the_quota_of_trials_nothing_more_is_leased_and_the_search_says_so(each_database: Database) -> None:
    key_id = owner(each_database, max_trials=2)
    search_id = submitted(each_database, key_id)
    brought(each_database, search_id, an_outside_result(d_h=31))  # measured elsewhere: does not count
    for number in range(3):
        enqueued(each_database, search_id, d_h=8 + number)
    held = [asked(each_database, number) for number in range(3)]
    assert [one is not None for one in held] == [True, True, False]
    assert usage(each_database, key_id) == Usage(running_searches=1, trials=2, artifact_bytes=0)
    with each_database.write() as connection:
        for one in held[:2]:
            assert one is not None
            finish(connection, one.lease_id, one.token, a_result())
        assert queued_trials_per_need(connection) == {}  # nobody is woken in vain
    assert "have trained 2 trials and may train 2 (max_trials)" in (why_waiting(each_database, search_id) or "")


def test_the_searches_of_others_go_on(each_database: Database) -> None:
    stuck = submitted(each_database, owner(each_database, max_trials=0), priority=9)
    enqueued(each_database, stuck)
    free = submitted(each_database)
    enqueued(each_database, free)
    held = asked(each_database)
    assert held is not None
    assert held.search_id == free


def test_over_the_quota_of_bytes_nothing_more_is_leased(each_database: Database, tmp_path: Path) -> None:
    key_id = owner(each_database, max_artifact_bytes=1000)
    search_id = submitted(each_database, key_id)
    enqueued(each_database, search_id)
    enqueued(each_database, search_id, d_h=9)
    held, content = asked(each_database), b"w" * 1000
    assert held is not None
    with each_database.write() as connection:
        store = ArtifactStore(str(tmp_path))
        store_network(connection, store, held.lease_id, held.token, content, digest_of(content))
        finish(connection, held.lease_id, held.token, a_result())
    assert usage(each_database, key_id).artifact_bytes == 1000
    assert asked(each_database, 2) is None
    assert "take 1,000 bytes and may take 1,000" in (why_waiting(each_database, search_id) or "")
    with each_database.write() as connection:
        control.cancel(connection, search_id)
        control.delete(connection, search_id)
    assert usage(each_database, key_id).artifact_bytes == 0


def test_a_worker_belongs_to_the_key_that_announced_it(each_database: Database) -> None:
    key_id = owner(each_database)
    with each_database.write() as connection:
        lease(connection, a_request(), Settings(), key_id=key_id)
    with pytest.raises(Conflict, match="worker w1 of another key"), each_database.write() as connection:
        lease(connection, a_request("request-2"), Settings(), key_id=None)
    assert a_worker().id == "w1"
