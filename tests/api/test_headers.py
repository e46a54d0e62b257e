"""What every response carries, and that nothing shown becomes markup."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.headers import HEADERS
from nas_service.database import Database
from nas_service.lifecycle.finish import finish
from tests.builders import a_result, an_outside_result, brought, enqueued, leased, serving, submitted

STATIC = Path(__file__).parents[2] / "api" / "static"
MARKUP = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>"


@pytest.fixture
def client(database: Database, tmp_path: Path) -> Iterator[httpx.Client]:
    with serving(database.url, tmp_path, max_body_bytes=1000) as client:
        client.follow_redirects = False
        yield client


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200),
        ("GET", "/searches/7", 404),
        ("GET", "/healthz", 200),
        ("GET", "/api/v1/searches", 200),
        ("GET", "/api/v1/searches/0", 422),
        ("GET", "/nothing", 404),
        ("PUT", "/api/v1/searches", 405),
        ("POST", "/api/v1/searches", 413),
        ("GET", "/openapi.json", 200),
        ("GET", "/static/style.css", 200),
    ],
)
def test_every_response_carries_the_security_headers(client: httpx.Client, method: str, path: str, status: int) -> None:
    answer = client.request(method, path, content=b" " * 1001 if method == "POST" else None)
    assert answer.status_code == status
    assert {name: answer.headers[name] for name in HEADERS if name != "Cache-Control"} == {
        name: value for name, value in HEADERS.items() if name != "Cache-Control"
    }
    assert answer.headers["Cache-Control"] == ("no-cache" if path.startswith("/static") else "no-store")


def test_a_refused_host_and_a_failure_of_ours_carry_them_too(client: httpx.Client, database: Database) -> None:
    refused = client.get("/", headers={"Host": "evil.example"})
    with database.write() as connection:
        connection.exec_driver_sql("ALTER TABLE searches RENAME COLUMN spec TO gone")
    client._transport.raise_server_exceptions = False
    failed = client.get("/")
    assert (refused.status_code, failed.status_code >= 500) == (403, True)
    assert set(HEADERS.items()) <= {(name, answer.headers[name]) for answer in (refused, failed) for name in HEADERS}


def test_the_policy_lets_no_script_in_but_our_files() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "script-src" not in policy, "scripts fall under default-src"
    assert "default-src 'self';" in policy


def test_what_people_wrote_is_shown_as_text(client: httpx.Client, database: Database, tmp_path: Path) -> None:
    search_id = submitted(database, name=MARKUP)
    trial_id = enqueued(database, search_id)
    held = leased(database, tmp_path, name=MARKUP, id="w1", device=MARKUP)
    failed = a_result(outcome="failed", reason="error", message=MARKUP, metrics=None)
    with database.write() as connection:
        finish(connection, held.lease_id, held.token, failed)
    brought(database, search_id, an_outside_result(d_h=9, source=MARKUP))
    for path in (
        "/",
        f"/searches/{search_id}",
        "/searches/<img src=x onerror=y>",
        f"/searches/{search_id}?arm={MARKUP[:50]}",
    ):
        html = client.get(path).text
        assert "<img src=x" not in html
        assert "<script>alert" not in html
        assert "&lt;img src=x onerror" in html or "arm=" in path, path
    assert f"trial-{trial_id}" in client.get(f"/searches/{search_id}").text


@pytest.mark.parametrize("script", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_script_makes_markup_of_text(script: Path) -> None:
    text = script.read_text()
    sinks = (
        r"(inner|outer)HTML\s*\+?=[^=]|insertAdjacentHTML|document\.write|eval\(|new Function|createContextualFragment"
    )
    assert re.search(sinks, text) is None


def test_templates_hold_no_inline_script_style_or_unescaped_value() -> None:
    for template in (STATIC.parent / "templates").glob("*.html"):
        text = template.read_text()
        assert re.search(r"\son\w+\s*=|\sstyle\s*=|<style|javascript:|\|\s*safe|autoescape", text) is None, (
            template.name
        )
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", text)), template.name
