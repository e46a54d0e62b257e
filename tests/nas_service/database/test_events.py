"""The event log, on both databases: gapless, in commit order, and no reader loses one."""

import threading
from time import monotonic, sleep

import pytest

from nas_service.database import Database
from nas_service.database.events import append_event, events_after
from nas_service.database.searches import search_by_id
from tests.builders import submitted


def numbers_after(database: Database, search_id: int, number: int) -> list[int]:
    with database.read() as connection:
        return [event.number for event in events_after(connection, search_id, number)]


def test_two_transactions_that_commit_in_the_other_order_lose_no_event(each_database: Database) -> None:
    search_id, other_id = submitted(each_database), submitted(each_database)
    holds_one, may_commit = threading.Event(), threading.Event()
    seen: list[int] = []

    def read_on() -> None:
        seen.extend(numbers_after(each_database, search_id, seen[-1] if seen else 0))

    def slow_one() -> None:
        with each_database.write() as connection:
            append_event(connection, search_id, "slow")
            holds_one.set()
            assert may_commit.wait(10)

    def quick_one() -> None:
        with each_database.write() as connection:
            append_event(connection, search_id, "quick")

    read_on()
    slow = threading.Thread(target=slow_one)
    slow.start()
    assert holds_one.wait(10)
    quick = threading.Thread(target=quick_one)
    quick.start()  # begins second and would commit first; it must not get ahead of the slow one's number
    quick.join(0.3)
    read_on()
    assert seen == [1]
    may_commit.set()
    slow.join(10)
    quick.join(10)
    read_on()
    assert seen == [1, 2, 3]
    assert numbers_after(each_database, other_id, 0) == [1]


def test_a_transaction_that_rolls_back_leaves_no_gap(each_database: Database) -> None:
    search_id = submitted(each_database)

    def fail_half_way() -> None:
        with each_database.write() as connection:
            append_event(connection, search_id, "never happened")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with each_database.write() as connection:
        append_event(connection, search_id, "happened")
    assert numbers_after(each_database, search_id, 0) == [1, 2]


def test_many_writers_and_a_reader_that_follows_see_every_number_once(each_database: Database) -> None:
    search_id = submitted(each_database)

    def write_some() -> None:
        for _ in range(20):
            with each_database.write() as connection:
                append_event(connection, search_id, "something")

    writers = [threading.Thread(target=write_some) for _ in range(4)]
    for writer in writers:
        writer.start()
    seen, deadline = [0], monotonic() + 30
    while seen[-1] < 81:
        assert monotonic() < deadline
        seen.extend(numbers_after(each_database, search_id, seen[-1]))
        sleep(0.001)
    for writer in writers:
        writer.join(10)
    assert seen == list(range(82))
    with each_database.read() as connection:
        assert search_by_id(connection, search_id).last_event == 81
