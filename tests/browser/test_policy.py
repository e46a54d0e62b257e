"""The search's page in a real browser: the content security policy stops none of it, and hostile names stay text."""

import shutil
from pathlib import Path

import pytest

from nas_service.database import Database
from tests.acceptance.service import wait_until
from tests.builders import completed, on_a_port, submitted

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]

# One style attribute of plotly.js is refused at every plot; screenshots with and without it are the same.
KNOWN = "sha256-ji27qzEtxXZW+7dun6UwjHXJ18e6WAin1VvNtkzIE/o="

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]


def test_the_policy_stops_nothing_of_the_page_and_a_hostile_name_stays_text(database: Database, tmp_path: Path) -> None:
    search_id = submitted(database, name="<img src=x onerror=alert(1)>", budget={"trials_per_arm": 50})
    for number in range(3):
        completed(database, tmp_path, search_id, 20.0 + number, d_h=6 + number)
    said: list[str] = []
    with on_a_port(database, tmp_path) as url, sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1100, "height": 1400})
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
        page.goto(f"{url}/searches/{search_id}")
        point = page.wait_for_selector(".plot .points path").bounding_box()
        page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
        page.wait_for_selector(".hoverlayer .hovertext")
        assert page.inner_text("h1") == "<img src=x onerror=alert(1)>"
        assert page.evaluate("getComputedStyle(document.querySelector('.main-svg')).position") == "absolute"
        completed(database, tmp_path, search_id, 25.0, d_h=20)  # arrives by the event stream
        points = page.locator(".plot .points path.point")
        wait_until(lambda: points.count() == 4, 15, "the new point is drawn")
        page.wait_for_selector("text=25.00")
        browser.close()
    assert [text for text in said if KNOWN not in text] == []
