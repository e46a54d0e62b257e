import csv
import io
from math import log10
from pathlib import Path
from typing import Any

import httpx
import pytest

from nas_service.database import Database
from tests.builders import ARMS, completed, submitted


@pytest.fixture
def searched(database: Database, tmp_path: Path) -> int:
    """A search whose arms have trained ten networks of all sorts of quality."""
    search_id = submitted(database, arms=ARMS, limits={"max_parameters": 50_000})
    for step, psnr_db in enumerate((20.0, 19.0, 23.0, 23.0, 21.0)):
        completed(database, tmp_path, search_id, psnr_db, d_h=8 + step)
        completed(database, tmp_path, search_id, psnr_db + 0.5, arm="plain", d_z=64, d_h=72 + 4 * step)
    return search_id


def value(trial: dict[str, Any]) -> tuple[int, float]:
    return trial["costs"]["parameters_trainable"], trial["metrics"]["eval"]["psnr_db"]


def undominated(trials: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By comparing all with all, cheapest first."""

    def beats(a: tuple[int, float], b: tuple[int, float]) -> bool:
        return a != b and a[0] <= b[0] and a[1] >= b[1]

    return sorted((t for t in trials if not any(beats(value(other), value(t)) for other in trials)), key=value)


def test_the_front_holds_exactly_what_it_promises(client: httpx.Client, searched: int) -> None:
    front = client.get(f"/api/v1/searches/{searched}/front").json()
    assert set(front) == {"objectives", "reference_point", "union", "arms"}
    assert front["objectives"] == [
        {"name": "parameters_trainable", "scale": "log", "reference": None},
        {"name": "psnr_db", "scale": "linear", "reference": None},
    ]
    assert front["reference_point"] == [50_000, 12.0]  # the limit, and the trivial answer of the results
    assert set(front["arms"]) == set(ARMS)
    for part in (front["union"], *front["arms"].values()):
        assert set(part) == {"points", "hypervolume"}


def test_the_fronts_are_what_comparing_all_with_all_leaves(client: httpx.Client, searched: int) -> None:
    trials = client.get(f"/api/v1/searches/{searched}/trials").json()["items"]
    front = client.get(f"/api/v1/searches/{searched}/front").json()
    assert len(front["union"]["points"]) < len(trials)
    assert front["union"]["points"] == undominated(trials)
    for arm, part in front["arms"].items():
        assert part["points"] == undominated([trial for trial in trials if trial["arm"] == arm])
        assert all(trial["on_front"] for trial in part["points"])
    assert sum(trial["on_front"] for trial in trials) == sum(len(part["points"]) for part in front["arms"].values())


def test_the_hypervolume_is_the_area_of_the_staircase(client: httpx.Client, searched: int) -> None:
    for part in client.get(f"/api/v1/searches/{searched}/front").json()["arms"].values():
        area, floor = 0.0, 12.0
        for cost, psnr_db in map(value, part["points"]):
            area += log10(50_000 / cost) * (psnr_db - floor)
            floor = psnr_db
        assert part["hypervolume"] == pytest.approx(area)


def test_a_search_without_results_has_empty_fronts(client: httpx.Client, database: Database) -> None:
    front = client.get(f"/api/v1/searches/{submitted(database)}/front").json()
    assert front["reference_point"] == [2 * 64 * 128 + 2 * 4 * 128 * 32, None]
    assert front["union"] == {"points": [], "hypervolume": None}
    assert front["arms"] == {"hourglass": {"points": [], "hypervolume": None}}


def test_the_csv_has_a_line_for_every_point_of_every_arm(client: httpx.Client, searched: int) -> None:
    front = client.get(f"/api/v1/searches/{searched}/front").json()
    answer = client.get(f"/api/v1/searches/{searched}/front", params={"format": "csv"})
    assert answer.headers["Content-Type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    expected = [trial["id"] for part in front["arms"].values() for trial in part["points"]]
    assert [int(row["id"]) for row in rows] == expected


def test_the_plot_is_a_figure(client: httpx.Client, searched: int) -> None:
    figure = client.get(f"/api/v1/searches/{searched}/plot").json()
    assert figure["data"]
    assert "layout" in figure


def test_an_unknown_format_is_refused(client: httpx.Client, searched: int) -> None:
    assert client.get(f"/api/v1/searches/{searched}/front", params={"format": "xml"}).status_code == 422
