"""The dashboard's pages, on a real database with data that went through the lifecycle."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.pages import PLOTLY_PATH
from nas_service.database import Database
from nas_service.database.trials import next_number
from nas_service.domain.trial import Ask, AskedAfter, Proposal
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.propose import store_proposals
from tests.builders import ARMS, a_result, completed, enqueued, leased, serving, submitted

ROOT = Path(__file__).parents[2]


class Site:
    """A served dashboard, and verbs that fill its database."""

    def __init__(self, database: Database, home: Path) -> None:
        self.database, self.home = database, home
        self.client = serving(database.url, home)

    def html(self, path: str, status: int = 200) -> str:
        response = self.client.get(path)
        assert response.status_code == status, response.text
        assert response.headers["content-type"].startswith("text/html")
        return str(response.text)

    def submitted(self, **changes: Any) -> int:
        return submitted(self.database, **changes)

    def queued(self, search_id: int, lr: float = 2e-3, **sizes: Any) -> int:
        return enqueued(self.database, search_id, lr=lr, **sizes)

    def completed(self, search_id: int, psnr_db: float = 20.0) -> int:
        return completed(self.database, self.home, search_id, psnr_db)

    def failed(self, search_id: int, reason: str, message: str) -> None:
        trial_id = self.queued(search_id, lr=3e-3)
        held = leased(self.database, self.home, request_id=f"request-{trial_id}")
        failure = a_result(outcome="failed", reason=reason, message=message, metrics=None)
        with self.database.write() as connection:
            finish(connection, held.lease_id, held.token, failure)

    def refused(self, search_id: int, message: str) -> None:
        nothing: dict[str, Any] = {"origin": "sampler", "architecture": None, "costs": None}
        with self.database.write() as connection:
            number = next_number(connection, search_id, "hourglass")
            proposal = Proposal(
                number=number, lr=1e-3, violation=0.5, message=message, ask=Ask(params={}, system_attrs={}), **nothing
            )
            store_proposals(connection, search_id, "hourglass", [proposal], AskedAfter(event=0, running=()))


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Iterator[Site]:
    site = Site(database, tmp_path)
    with site.client:
        yield site


def rows_of(html: str) -> list[str]:
    return re.findall(r"<tr data-key=.*?</tr>", html, flags=re.S)


def test_an_empty_dashboard_says_how_to_submit(site: Site) -> None:
    assert "hourglass submit examples/digits_denoising.yaml" in site.html("/")


def test_the_list_shows_where_each_search_stands(site: Site) -> None:
    search_id = site.submitted(name="mine", arms=ARMS)
    site.completed(search_id)
    site.queued(search_id)
    (row,) = rows_of(site.html("/"))
    assert f'href="/searches/{search_id}">mine</a>' in row
    assert "denoising on digits" in row
    assert "hourglass, plain" in row
    assert "running" in row
    assert "1 / 8 trials" in row  # the queued one is promised, not done


def test_the_list_goes_on_behind_a_cursor(site: Site) -> None:
    for number in range(27):
        site.submitted(name=f"search {number}")
    first = site.html("/")
    assert len(rows_of(first)) == 25
    (older,) = re.findall(r'id="older" href="([^"]+)"', first)
    assert [re.findall(r">(search \d+)<", row)[0] for row in rows_of(site.html(older))] == ["search 1", "search 0"]


def test_a_name_cannot_bring_markup_into_a_page(site: Site) -> None:
    search_id = site.submitted(name="<script>alert(1)</script>")
    for path in ("/", f"/searches/{search_id}"):
        html = site.html(path)
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html


def test_a_workers_message_cannot_bring_markup_into_a_page(site: Site) -> None:
    search_id = site.submitted()
    site.failed(search_id, "error", '"><img src=x onerror=alert(1)>')
    assert "<img src=x" not in site.html(f"/searches/{search_id}")


def test_a_searchs_page_shows_its_arms_and_trials(site: Site) -> None:
    search_id = site.submitted()
    site.completed(search_id, psnr_db=21.5)
    site.failed(search_id, "out_of_memory", "1.2 GiB too much")
    site.refused(search_id, "it is too large")
    html = site.html(f"/searches/{search_id}")
    refused, failed, completed = rows_of(html)
    assert "it is too large" in refused
    assert "out of memory: " in failed
    assert "1.2 GiB too much" in failed
    for text in ("65/8 × 1", "0.001", "21.50", "1.0", "worker one", "★ front"):
        assert text in completed
    assert re.search(r'<b class="num">1</b> completed', html)
    assert re.search(r"Hypervolume</span>\s*<b", html)
    assert f"/api/v1/searches/{search_id}/trials?format=csv" in html
    assert f"/api/v1/searches/{search_id}/front" in html


def test_the_page_names_the_last_event_that_it_holds(site: Site) -> None:
    search_id = site.submitted()
    site.completed(search_id)
    last = site.client.get(f"/api/v1/searches/{search_id}").json()["last_event"]
    assert f'data-last-event="{last}"' in site.html(f"/searches/{search_id}")


def test_the_plot_holds_the_trials_and_their_last_event(site: Site) -> None:
    search_id = site.submitted()
    trial_id = site.completed(search_id)
    figure = site.client.get(f"/api/v1/searches/{search_id}/plot").json()
    assert figure["layout"]["meta"]["last_event"] == 4  # submitted, queued, leased, completed
    assert [row[0] for trace in figure["data"] for row in trace["customdata"] or ()].count(trial_id) == 2


def test_the_page_says_why_nothing_runs_and_offers_what_is_possible(site: Site) -> None:
    search_id = site.submitted()
    html = site.html(f"/searches/{search_id}")
    assert "no worker is alive" in html
    assert re.findall(r'data-verb="(\w+)"', html) == ["pause", "cancel"]
    site.client.post(f"/api/v1/searches/{search_id}/pause")
    html = site.html(f"/searches/{search_id}")
    assert "the search is paused" in html
    assert re.findall(r'data-verb="(\w+)"', html) == ["resume", "cancel"]
    site.client.post(f"/api/v1/searches/{search_id}/cancel")
    assert "data-verb" not in site.html(f"/searches/{search_id}")


def test_trials_are_filtered_and_paged(site: Site) -> None:
    search_id = site.submitted(arms=ARMS)
    for number in range(27):
        site.queued(search_id, lr=(10 + number) * 1e-4)
    site.queued(search_id, arm="plain", d_z=64, d_h=65)
    path = f"/searches/{search_id}"
    assert len(rows_of(site.html(f"{path}?arm=plain&state="))) == 1
    assert rows_of(site.html(f"{path}?state=completed")) == []
    first = site.html(f"{path}?arm=hourglass&state=queued")
    assert len(rows_of(first)) == 25
    (older,) = re.findall(r'id="older" href="([^"]+)"', first)
    second = site.html(older.replace("&amp;", "&"))
    assert len(rows_of(second)) == 2
    assert 'id="newest"' in second


@pytest.mark.parametrize("search_id", ["99", "0", "nonsense", "9" * 30])
def test_an_unknown_search_is_a_page_too(site: Site, search_id: str) -> None:
    html = site.html(f"/searches/{search_id}", status=404)
    assert "Not found" in html
    assert f"There is no search {search_id}" in html


def test_no_page_asks_another_host_or_carries_scripts_of_its_own(site: Site) -> None:
    search_id = site.submitted()
    site.completed(search_id)
    for path in ("/", f"/searches/{search_id}", "/searches/99"):
        response = site.client.get(path)
        assert "default-src 'self'" in response.headers["content-security-policy"]
        html = response.text
        links = re.findall(r'(?:src|href|action)="([^"]*)"', html)
        assert links
        assert all(link.startswith(("/", "#")) and not link.startswith("//") for link in links)
        assert re.findall(r"<script(?![^>]*\bsrc=)", html) == []
        assert re.findall(r"<[^>]*\s(?:style|on\w+)=", html) == []


def test_every_file_that_a_page_names_is_served(site: Site) -> None:
    search_id = site.submitted()
    pages = site.html("/") + site.html(f"/searches/{search_id}")
    named = set(re.findall(r'(?:src|href)="(/(?:static|assets)/[^"]*)"', pages))
    assert PLOTLY_PATH in named
    modules = {f"/static/{path.name}" for path in (ROOT / "api" / "static").glob("*.js")}
    for path in named | modules:
        assert site.client.get(path).status_code == 200
    for module in modules:
        for imported in re.findall(r'from "\./([^"]+)"', site.client.get(module).text):
            assert f"/static/{imported}" in modules


def test_plotly_comes_from_our_own_host_packed_and_for_good(site: Site) -> None:
    packed = site.client.get(PLOTLY_PATH, headers={"Accept-Encoding": "gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert "immutable" in packed.headers["cache-control"]
    assert int(packed.headers["content-length"]) < 2_000_000
    plain = site.client.get(PLOTLY_PATH, headers={"Accept-Encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == packed.content
    assert b"plotly.js v" in plain.content[:500]


def test_the_scripts_listen_to_every_kind_of_event(site: Site) -> None:
    """A named server-sent event that no listener names would be lost."""
    heard = set(re.findall(r'"((?:search|trial|arm|budget)_\w+)"', site.client.get("/static/stream.js").text))
    sources = "".join(path.read_text() for path in (ROOT / "nas_service" / "lifecycle").glob("*.py"))
    written = set(re.findall(r'"((?:search|trial|arm|budget)_[a-z]+ed)"', sources))
    assert {"trial_completed", "trial_stopped", "trial_failed"} | written == heard
