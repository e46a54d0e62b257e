"""How often one caller may call, and how many streams it may hold; on real connections where they last."""

from contextlib import ExitStack
from pathlib import Path
from time import monotonic

import httpx
import pytest

from nas_service.client import Client, ServerUnreachable
from nas_service.client.transport import Transport
from nas_service.database import Database
from tests.acceptance.service import wait_until
from tests.builders import on_a_port, submitted


def test_more_calls_than_a_minute_allows_are_told_when_to_come_again(database: Database, tmp_path: Path) -> None:
    with (
        on_a_port(database, tmp_path, requests_per_minute=5) as url,
        httpx.Client(base_url=url, trust_env=False) as http,
    ):
        statuses = [http.get("/healthz").status_code for _ in range(5)]
        refused = http.get("/healthz")
    assert statuses == [200] * 5
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert "5 calls a minute are allowed" in refused.json()["error"]


def test_logins_have_a_stricter_limit(database: Database, tmp_path: Path) -> None:
    with on_a_port(database, tmp_path, logins_per_minute=2) as url, httpx.Client(base_url=url, trust_env=False) as http:
        answers = [http.post("/login", data={"key": str(guess)}).status_code for guess in range(4)]
        assert answers[2:] == [429, 429]
        assert http.get("/healthz").status_code == 200


def test_a_caller_holds_so_many_streams_and_may_open_one_for_each_it_closes(database: Database, tmp_path: Path) -> None:
    path = f"/api/v1/searches/{submitted(database)}/events"
    with (
        on_a_port(database, tmp_path, streams_per_caller=2) as url,
        httpx.Client(base_url=url, trust_env=False) as http,
        ExitStack() as open_streams,
    ):
        for _ in range(2):
            stream = open_streams.enter_context(http.stream("GET", path))
            assert stream.status_code == 200
        refused = http.get(path)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")
        assert "2 event streams at once are allowed" in refused.json()["error"]
        stream.close()

        def opens() -> bool:
            with http.stream("GET", path) as again:
                return again.status_code == 200

        wait_until(opens, 10, "the place of the closed stream is free")


def test_a_call_that_may_be_repeated_waits_as_long_as_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([httpx.Response(429, headers={"Retry-After": "1"}), httpx.Response(204)])
    transport = Transport("http://127.0.0.1:1")
    transport._http = httpx.Client(base_url="http://x", transport=httpx.MockTransport(lambda _: next(answers)))
    began = monotonic()
    assert transport.call_until_answered("PUT", "/").status_code == 204
    assert monotonic() - began >= 1
    transport.close()


def test_people_are_told_that_it_was_too_much(database: Database, tmp_path: Path) -> None:
    with on_a_port(database, tmp_path, requests_per_minute=1) as url, Client(url) as client:
        client.searches()
        with pytest.raises(ServerUnreachable, match="1 calls a minute are allowed"):
            client.searches()
