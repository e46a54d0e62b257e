"""The command line against a served application: what people type, what they read, how it exits."""

import io
import json
import socket
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from nas_service.cli import app, main
from nas_service.cli.demo import save_results
from nas_service.client import ApiError, Client
from nas_service.database import Database
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.lease import lease
from nas_service.settings import Settings
from tests.builders import a_request, a_result, a_search_file

COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands)


@pytest.fixture
def server(served: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A served application; HOURGLASS_SERVER points to it."""
    monkeypatch.setenv("HOURGLASS_SERVER", served)
    monkeypatch.setenv("COLUMNS", "160")
    return served


def hourglass(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def a_file(folder: Path, **changes: object) -> str:
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(a_search_file(**changes)))
    return str(path)


def train_one(database: Database, psnr_db: float = 20.0) -> int:
    """Enqueue, lease and finish one trial of search 1."""
    from nas_service.lifecycle import control
    from nas_service.messages import Enqueue

    with database.write() as connection:
        control.enqueue(connection, 1, Enqueue(arm="hourglass", d_z=100, d_h=10, depth=2, lr=2e-3))
        held = lease(connection, a_request(), Settings())
        return finish(connection, held.lease_id, held.token, a_result(psnr_db)).id


def refusal(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What the command says when it refuses, as one line."""
    monkeypatch.setattr(sys, "argv", ["hourglass", *arguments])
    monkeypatch.setenv("COLUMNS", "500")
    monkeypatch.setenv("TERMINAL_WIDTH", "500")
    shown = io.StringIO()
    with pytest.raises(SystemExit) as refused, redirect_stderr(shown):
        main()
    return f"{refused.value} {shown.getvalue()}"


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(command: str) -> None:
    result = hourglass(command, "-h")
    assert result.exit_code == 0
    assert "Example: " in result.output


def test_a_search_file_is_submitted_and_listed(server: str, tmp_path: Path) -> None:
    submitted = hourglass("submit", a_file(tmp_path))
    assert (submitted.exit_code, submitted.output.strip()) == (0, f"search 1 (test): {server}/searches/1")
    listed = hourglass("searches").output
    assert "running" in listed
    assert "denoising" in listed
    assert "no worker is alive" in hourglass("show", "1").output


def test_pause_resume_cancel_extend_delete(server: str, tmp_path: Path) -> None:
    hourglass("submit", a_file(tmp_path))
    assert "is paused" in hourglass("pause", "1").output
    assert "is running" in hourglass("resume", "1").output
    assert "is running" in hourglass("extend", "1", "9").output
    assert "is cancelled" in hourglass("cancel", "1").output
    assert "search 1 is deleted" in hourglass("delete", "1").output


def test_the_front_is_printed_as_table_csv_and_json(server: str, database: Database, tmp_path: Path) -> None:
    hourglass("submit", a_file(tmp_path))
    trial_id = train_one(database)
    assert "100/10 x 2" in hourglass("front", "1").output
    header, row = hourglass("front", "1", "--format", "csv").output.strip().splitlines()
    assert dict(zip(header.split(","), row.split(","), strict=True))["eval_psnr_db"] == "20.0"
    front = json.loads(hourglass("front", "1", "--format", "json").output)
    assert [point["id"] for point in front["arms"]["hourglass"]["points"]] == [trial_id]


def test_trials_are_printed_as_csv_and_json(server: str, database: Database, tmp_path: Path) -> None:
    hourglass("submit", a_file(tmp_path))
    trial_id = train_one(database)
    assert hourglass("trials", "1").output.splitlines()[1].startswith(f"{trial_id},hourglass,0,completed")
    (trial,) = json.loads(hourglass("trials", "1", "--format", "json").output)
    assert (trial["id"], trial["lr"]) == (trial_id, 0.002)


def test_a_refused_search_names_every_faulty_field(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = a_file(tmp_path, recipe={"epochs": -1}, sampler="magic")
    monkeypatch.setattr(sys, "argv", ["hourglass", "submit", path])
    with pytest.raises(SystemExit) as refused:
        main()
    assert "recipe.epochs" in str(refused.value)
    assert "sampler" in str(refused.value)


@pytest.mark.parametrize(
    ("content", "says"), [("a: [", "is not YAML"), ("- 1", "holds no search"), (None, "cannot read")]
)
def test_a_file_that_is_no_search_is_refused_before_anything_is_sent(
    tmp_path: Path, content: str | None, says: str
) -> None:
    path = tmp_path / "search.yaml"
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(app, ["submit", str(path), "--server", "http://127.0.0.1:1"])
    assert says in result.output


def test_a_server_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["hourglass", "searches", "--server", "http://127.0.0.1:1"])
    with pytest.raises(SystemExit, match=r"no answer from http://127\.0\.0\.1:1 .* is `hourglass up` running there"):
        main()


def test_a_deployed_server_refuses_a_database_that_is_behind(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["server", "--data-dir", str(tmp_path)])
    assert "run `hourglass migrate` first" in result.output


def test_a_taken_port_that_the_user_named_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(app, ["up", "--port", port, "--workers", "0", "--data-dir", str(tmp_path)])
    assert f"port {port} is taken" in result.output


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("name: 2026-01-01", "write dates in quotes"),
        ("name: .nan", "finite numbers"),
        ("name: &a [*a]", "Circular"),
        ("arms:\n  a: {depth: 1}\n  a: {depth: 2}", "'a' stands there twice"),
        ("dataset: {path: photos}", "no answer from"),  # sent: the server says what to write instead
    ],
)
def test_a_file_that_json_cannot_carry_or_that_says_a_thing_twice_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, says: str
) -> None:
    monkeypatch.setenv("HOURGLASS_DATA_DIR", str(tmp_path))
    path = tmp_path / "search.yaml"
    path.write_text(content)
    assert says in refusal(monkeypatch, "submit", str(path), "--server", "http://127.0.0.1:1")


@pytest.mark.parametrize("keeps", ["front", "none"])
def test_the_results_of_a_demo_are_saved_whether_networks_are_kept_or_not(
    server: str, database: Database, tmp_path: Path, keeps: str
) -> None:
    hourglass("submit", a_file(tmp_path, keep_networks=keeps))
    trial_id = train_one(database)
    with Client(server) as client:
        if keeps == "front":  # its network was never brought here: that is an error, not a silence
            with pytest.raises(ApiError, match=f"no network of trial {trial_id}"):
                save_results(client, 1, tmp_path)
        else:
            save_results(client, 1, tmp_path)
    assert len((tmp_path / "front.csv").read_text().splitlines()) == 2


def test_names_with_brackets_and_colons_are_printed_as_they_are(server: str, tmp_path: Path) -> None:
    hourglass("submit", a_file(tmp_path, name="[/b] :smile: [red]x"))
    assert "[/b] :smile: [red]x" in hourglass("searches").output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["extend", "1", "0"], "above 0"),
        (["extend", "1", "inf"], "finite"),
        (["searches", "--server", "foo"], "address is like"),
        (["searches", "--server", "http://[::"], "address is like"),
        (["up", "--port", "99999"], "65535"),
        (["up", "--data-dir", "/dev/null"], "cannot use /dev/null"),
        (["server", "--data-dir", "/dev/null/x"], "the database cannot be opened"),
        (["worker", "--device", "foo"], "there is no device 'foo'"),
        (["worker", "--slots", "0"], "a number from 1 to 16, or auto (got 0)"),
        (["worker", "--slots", "many"], "a number from 1 to 16, or auto (got many)"),
        (["up", "--slots", "17"], "a number from 1 to 16, or auto (got 17)"),
        (["worker", "--label", "plain"], "key=value"),
        (["worker", "--name", "n" * 201], "at most 200"),
    ],
)
def test_what_users_mistype_is_said_in_a_sentence(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    assert says in refusal(monkeypatch, *arguments)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HOURGLASS_LEASE_SECONDS", "abc", "HOURGLASS_LEASE_SECONDS: Input should be a valid number"),
        ("HOURGLASS_DATABASE_URL", "garbage", "the database cannot be opened"),
    ],
)
def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str) -> None:
    monkeypatch.setenv(name, value)
    assert says in refusal(monkeypatch, "migrate")


def test_the_help_does_not_import_torch_or_optuna() -> None:
    code = "import sys, nas_service.cli; sys.exit(bool({'torch', 'optuna', 'uvicorn'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_commands_are_those_that_other_programs_rely_on() -> None:
    promised = {"up", "server", "scheduler", "worker", "submit", "searches", "show", "pause", "resume", "cancel"}
    assert promised | {"front", "trials", "train"} <= set(COMMANDS)
    assert isinstance(app, typer.Typer)
