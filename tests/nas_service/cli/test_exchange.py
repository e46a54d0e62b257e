"""Results carried between searches by the commands, against a served application."""

from pathlib import Path

import optuna
import pytest
import yaml
from typer.testing import CliRunner

from nas_service.cli import app
from nas_service.client import Client
from nas_service.database import Database
from nas_service.messages import Front
from tests.builders import ARMS, a_search_file, an_outside_result, brought, completed, enqueued, submitted

CHANGES = {"arms": ARMS, "budget": {"trials_per_arm": 40}}


@pytest.fixture
def server(served: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOURGLASS_SERVER", served)
    monkeypatch.setenv("COLUMNS", "200")
    return served


@pytest.fixture
def source(server: str, database: Database, tmp_path: Path) -> int:
    """A search with three completed trials of its own, an imported one and a queued one."""
    search_id = submitted(database, **CHANGES)
    for psnr_db, d_h in ((20.0, 8), (21.0, 9), (19.0, 10)):
        completed(database, tmp_path, search_id, psnr_db, d_h=d_h)
    brought(database, search_id, an_outside_result(22.0, arm="plain", d_z=64, d_h=70))
    enqueued(database, search_id, "plain", d_z=64, d_h=71)
    return search_id


def hourglass(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    return result.output if result.exit_code == 0 else f"exit {result.exit_code}: {result.output}{result.exception}"


def front_of(server: str, search_id: int) -> list[tuple[object, ...]]:
    with Client(server) as client:
        front: Front = client.front(search_id)
    points = [point for part in front.arms.values() for point in part.points]
    return [(point.arm, point.architecture, point.lr, point.costs, point.metrics) for point in points]


def a_file(folder: Path, **changes: object) -> str:
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(a_search_file(**CHANGES | changes)))
    return str(path)


def test_a_warm_start_from_a_search_its_csv_or_its_studies_gives_the_same_front(
    server: str, source: int, database: Database, tmp_path: Path
) -> None:
    (tmp_path / "trials.csv").write_text(hourglass("trials", str(source)))
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    assert hourglass("export", str(source), url) == (
        "test / hourglass: 3 trials\ntest / plain: 1 trials\nleft out 1 (refused, queued or running)\n"
    )
    study = optuna.load_study(study_name="test / hourglass", storage=url)
    assert [trial.values[1] for trial in study.trials] == [20.0, 21.0, 19.0]
    for where in (str(source), str(tmp_path / "trials.csv"), f"{url}#test"):
        other = submitted(database, **CHANGES)
        left_out = "left out 0" if "#" in where else "left out 1 (1 not completed)"
        said = hourglass("warm-start", str(other), where)
        assert said == f"search {other}: 4 results imported from {where}, {left_out}\n"
        assert front_of(server, other) == front_of(server, source)
        assert "0 results imported" in hourglass("warm-start", str(other), where)


def test_imported_trials_are_told_apart_wherever_progress_is_shown(server: str, source: int) -> None:
    shown = hourglass("show", str(source))
    assert "3/40" in shown
    assert "0/40 │        1 │" in shown
    assert "imported" in hourglass("front", str(source))
    assert hourglass("searches").split("│")[-2].strip() == "3"


def test_a_search_may_be_submitted_with_a_warm_start(server: str, source: int, tmp_path: Path) -> None:
    said = hourglass("submit", a_file(tmp_path), "--warm-start", str(source))
    assert said.startswith(f"search {source + 1}: 4 results imported from {source}")
    assert "0/40 │        3 │" in hourglass("show", str(source + 1))
    with Client(server) as client:
        assert client.search(source + 1).state == "running"


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ("nowhere.csv", "error: cannot read nowhere.csv"),
        ("garbage#study", "error: cannot open the storage garbage"),
        ("1", "error: what 1 has does not compare: recipe.epochs is 2 there and 3 here; --anyway takes it"),
    ],
)
def test_a_source_that_cannot_be_had_leaves_no_search_behind(
    server: str, source: int, tmp_path: Path, where: str, says: str
) -> None:
    assert says in hourglass("submit", a_file(tmp_path, recipe={"epochs": 3}), "--warm-start", where)
    with Client(server) as client:
        assert [search.id for search in client.searches()] == [source]


def test_what_does_not_compare_is_taken_anyway_when_asked(server: str, source: int, tmp_path: Path) -> None:
    said = hourglass("submit", a_file(tmp_path, recipe={"epochs": 3}), "--warm-start", str(source), "--anyway")
    assert "4 results imported" in said


def test_a_study_that_is_there_is_not_overwritten_unasked(server: str, source: int, tmp_path: Path) -> None:
    url = f"journal:{tmp_path / 'studies.log'}"
    hourglass("export", str(source), url)
    assert "error: " in hourglass("export", str(source), url)
    assert "other / plain: 1 trials" in hourglass("export", str(source), url, "--name", "other")
    assert "test / plain: 1 trials" in hourglass("export", str(source), url, "--overwrite")


def test_optuna_is_kept_out_of_a_database_of_the_service(server: str, source: int, database: Database) -> None:
    assert "error: this is a database of the service" in hourglass("export", str(source), database.url)
    assert "error: this is a database of the service" in hourglass("warm-start", str(source), f"{database.url}#test")


def test_a_front_of_measured_costs_is_printed(server: str, database: Database) -> None:
    objectives = [{"name": "latency_ms", "reference": 9}, {"name": "psnr_db"}]
    search_id = submitted(database, objectives=objectives, device="cpu")
    metrics = {"eval": {"psnr_db": 20.0}, "measured": {"latency_ms": 0.125}}
    brought(database, search_id, an_outside_result(metrics=metrics))
    assert "0.125" in hourglass("front", str(search_id))
