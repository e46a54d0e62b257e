"""Webhooks against a real receiver: signed, repeated until taken, told once for each end."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from sqlalchemy import select, update
from standardwebhooks import Webhook, WebhookVerificationError

from nas_service.artifacts import ArtifactStore
from nas_service.database import Database
from nas_service.database.searches import arms_of
from nas_service.database.tables import webhooks
from nas_service.database.webhooks import take_due_webhook
from nas_service.lifecycle import control
from nas_service.scheduler import Scheduler, webhook
from nas_service.scheduler.leader import Leader
from nas_service.settings import Settings
from tests.acceptance.service import wait_until
from tests.builders import a_search, completed, submitted

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


class Receiver(HTTPServer):
    """Remembers what came; answers with the statuses it was given, then 204."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.statuses = list(statuses)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.paths: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.server.paths.append(self.path)
        self.server.may_answer.wait(10)
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving(*statuses: int) -> Iterator[Receiver]:
    receiver = Receiver(*statuses)
    thread = threading.Thread(target=receiver.serve_forever, args=(0.02,))
    thread.start()
    yield receiver
    receiver.may_answer.set()
    receiver.shutdown()
    thread.join()
    receiver.server_close()


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(webhook, "FIRST_PAUSE_SECONDS", 0.02)


@contextmanager
def sending(database: Database, url: str | None) -> Iterator[None]:
    secret = SECRET if url else None
    settings = Settings(server="http://nas.example:8080", webhook_url=url, webhook_secret=secret)
    stop = threading.Event()
    leader = Leader(database)
    assert leader.take() is not None
    thread = webhook.start_sender(leader, settings, stop)
    yield
    stop.set()
    thread.join(10)


def waiting(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        return [row.payload for row in connection.execute(select(webhooks))]


def cancelled(database: Database, **changes: Any) -> int:
    search_id = submitted(database, **changes)
    with database.write() as connection:
        control.cancel(connection, search_id)
    return search_id


def test_a_message_is_sent_again_until_it_is_taken_under_one_id_and_signed_each_time(each_database: Database) -> None:
    search_id = cancelled(each_database, name="Bücher")
    with receiving(500, 302, 404) as receiver, sending(each_database, receiver.url):
        wait_until(lambda: not waiting(each_database), 10, "the message was taken")
        assert receiver.paths == ["/hook"] * 4
    assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
    for headers, body in receiver.got:
        said = Webhook(SECRET).verify(body, headers)
    assert (said["type"], said["data"]["search_id"], said["data"]["name"]) == ("search.cancelled", search_id, "Bücher")
    assert said["data"]["url"] == f"http://nas.example:8080/searches/{search_id}"
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(body.replace(b"cancelled", b"finished!"), headers)


def test_every_end_of_a_search_is_told_once_with_its_counts(database: Database, tmp_path: Path) -> None:
    search_id = submitted(database, budget={"trials_per_arm": 1})
    completed(database, tmp_path, search_id)
    with database.write() as connection:
        assert control.finish_if_done(connection, search_id)
        assert not control.finish_if_done(connection, search_id)
    (finished,) = waiting(database)
    assert (finished["type"], finished["data"]["state"]) == ("search.finished", "finished")
    assert finished["data"]["trials"]["hourglass"]["completed"] == 1
    other = submitted(database)
    with database.write() as connection:
        control.fail(connection, other, "it cannot go on")
        control.fail(connection, other, "again")
        control.cancel(connection, submitted_in(connection))
    assert [row["type"] for row in waiting(database)] == ["search.finished", "search.failed", "search.cancelled"]
    assert waiting(database)[1]["data"]["reason"] == "it cannot go on"


def submitted_in(connection: Any) -> int:
    return control.submit(connection, a_search()).id


def test_cancelling_twice_is_told_once_and_pausing_is_not_told(database: Database) -> None:
    search_id = submitted(database)
    with database.write() as connection:
        control.pause(connection, search_id)
        control.cancel(connection, search_id)
        control.cancel(connection, search_id)
    assert [row["type"] for row in waiting(database)] == ["search.cancelled"]


def test_an_end_that_was_rolled_back_is_not_told(each_database: Database) -> None:
    search_id = submitted(each_database)
    with suppress(InterruptedError), each_database.write() as connection:
        control.cancel(connection, search_id)
        raise InterruptedError
    assert waiting(each_database) == []


def test_two_senders_never_have_the_same_message_at_once(each_database: Database) -> None:
    cancelled(each_database)
    with each_database.write() as connection:
        assert take_due_webhook(connection, 60) is not None
    with each_database.write() as connection:
        assert take_due_webhook(connection, 60) is None


def test_a_scheduler_that_does_not_lead_delivers_nothing(database: Database) -> None:
    cancelled(database)
    with receiving() as receiver:
        settings, stop = Settings(webhook_url=receiver.url, webhook_secret=SECRET), threading.Event()
        follower = webhook.start_sender(Leader(database), settings, stop)
        with sending(database, None):  # the leader, which has no receiver
            wait_until(lambda: not waiting(database), 10, "the leader took the message")
        stop.set()
        follower.join(10)
        assert receiver.got == []


def test_after_three_days_a_message_is_given_up(database: Database) -> None:
    cancelled(database)
    with database.write() as connection:
        connection.execute(update(webhooks).values(created_at=webhooks.c.created_at - webhook.GIVE_UP_SECONDS))
    with receiving(500) as receiver, sending(database, receiver.url):
        wait_until(lambda: not waiting(database), 10, "the message was given up")
        assert len(receiver.got) == 1


def test_nothing_is_kept_where_nobody_wants_to_be_told(database: Database) -> None:
    cancelled(database)
    with sending(database, None):
        wait_until(lambda: not waiting(database), 10, "the message was forgotten")


def test_the_pauses_grow_to_an_hour_and_there_are_about_eighty_in_three_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "FIRST_PAUSE_SECONDS", 5.0)
    pauses = [webhook.pause_after(attempt) for attempt in range(1, 82)]
    assert pauses[:3] == [5.0, 10.0, 20.0]
    assert max(pauses) == 3600
    assert sum(pauses) == pytest.approx(webhook.GIVE_UP_SECONDS, rel=0.05)


def test_a_slow_receiver_delays_no_search(database: Database, tmp_path: Path) -> None:
    with receiving() as receiver:
        receiver.may_answer.clear()
        settings = Settings(home=tmp_path, webhook_url=receiver.url, webhook_secret=SECRET, poll_seconds=0.02)
        stop = threading.Event()
        scheduler = Scheduler(database, ArtifactStore(settings.url_of_artifacts), settings)
        thread = threading.Thread(target=scheduler.run, args=(stop,))
        thread.start()
        cancelled(database)
        wait_until(lambda: receiver.got, 10, "the receiver has the message and does not answer")
        search_id = submitted(database)
        wait_until(lambda: queued(database, search_id), 10, "the other search goes on")
        receiver.may_answer.set()
        wait_until(lambda: not waiting(database), 10, "the message was taken")
        stop.set()
        thread.join(10)


def queued(database: Database, search_id: int) -> int:
    with database.read() as connection:
        return sum(arm.open_trials for arm in arms_of(connection, search_id))


@pytest.mark.parametrize("secret", [None, "", "short", "whsec_" + "A" * 20, "not base64!" * 5])
def test_a_webhook_without_a_good_secret_is_refused(secret: str | None) -> None:
    with pytest.raises(ValidationError, match="openssl rand -base64 32"):
        Settings(webhook_url="https://example.com/hook", webhook_secret=secret)


def test_a_secret_that_is_refused_is_not_shown() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(webhook_url="https://example.com/hook", webhook_secret="too-short-to-be-safe")
    assert "too-short" not in str(caught.value)


def test_the_secret_is_not_in_what_settings_print() -> None:
    settings = Settings(webhook_url="https://example.com/hook", webhook_secret=SECRET)
    assert SECRET not in f"{settings!r} {settings.model_dump_json()} {json.dumps(settings.model_dump(), default=str)}"
