"""The command line against a server that wants keys, and where a server may listen."""

import io
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest
from typer.testing import CliRunner

from nas_service.cli import app, main
from nas_service.cli.binding import require_keys_off_loopback
from nas_service.client import Client, NotAllowed, WorkerClient
from nas_service.database import Database
from nas_service.settings import Settings
from tests.builders import a_key, submitted


@pytest.fixture
def server(served: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HOURGLASS_SERVER", served)
    monkeypatch.setenv("COLUMNS", "200")
    return served


def hourglass(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return str(result.output)


def refusal(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What the command says when it refuses."""
    monkeypatch.setattr(sys, "argv", ["hourglass", *arguments])
    with pytest.raises(SystemExit) as refused, redirect_stderr(io.StringIO()):
        main()
    return str(refused.value)


def test_a_command_takes_its_key_from_the_environment(
    server: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOURGLASS_API_KEY", a_key(database, "admin"))
    submitted(database)
    assert "running" in hourglass("searches")


def test_a_call_without_a_key_ends_with_one_line_that_says_what_to_do(
    server: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_key(database, "admin")
    said = refusal(monkeypatch, "searches")
    assert said.startswith("error: this needs an API key")
    assert "HOURGLASS_API_KEY" in said
    assert "\n" not in said


def test_a_role_that_does_not_suffice_is_named(
    server: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOURGLASS_API_KEY", a_key(database, "viewer", "eve"))
    said = refusal(monkeypatch, "audit")
    assert said == "error: this needs a key of the role admin (the key eve is a viewer's)"


@pytest.mark.parametrize("key", ["secret", "hg_1_secret\u00e9", "hg_1_sec ret"])
def test_what_is_no_key_is_refused_without_being_told(server: str, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("HOURGLASS_API_KEY", key)
    said = refusal(monkeypatch, "searches")
    assert "the API key given (HOURGLASS_API_KEY) is none" in said
    assert key not in said


def test_no_representation_shows_a_key(server: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    key = a_key(database, "worker")
    monkeypatch.setenv("HOURGLASS_API_KEY", key)
    settings = Settings()
    client, worker = Client(server, key), WorkerClient(server, settings.api_key)
    shown = [repr(each) + repr(vars(each)) for each in (settings, client, worker, client._transport)]
    shown += [repr(client._transport._http.headers), str(settings.model_dump_json())]
    assert not any(key in text for text in shown)
    client.close()
    worker.close()


def test_a_search_is_shared_and_shared_no_more(
    server: str, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOURGLASS_API_KEY", a_key(database, "admin"))
    viewer = Client(server, a_key(database, "viewer"))
    submitted(database)
    assert hourglass("share", "1") == "search 1 (test) is shared\n"
    assert viewer.search(1).shared
    assert hourglass("share", "1", "--undo") == "search 1 (test) is not shared\n"
    assert viewer.searches() == []
    viewer.close()


def test_the_audit_tells_who_did_what(server: str, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOURGLASS_API_KEY", a_key(database, "admin", "ada"))
    submitted(database)
    for verb in ("pause", "resume", "cancel", "delete"):
        hourglass(verb, "1")
    lines = [line for line in hourglass("audit").splitlines() if "search_" in line]
    assert [line.split("search_")[1].split()[0] for line in lines] == ["deleted", "cancelled", "resumed", "paused"]
    assert all("ada" in line for line in lines)


def test_a_deed_that_was_refused_leaves_no_entry(served: str, database: Database) -> None:
    with Client(served, a_key(database, "admin")) as admin:
        submitted(database)
        before = len(admin.audit())
        with pytest.raises(Exception, match="is running; cancel it before deleting it"):
            admin.delete(1)
        assert len(admin.audit()) == before


def test_a_worker_whose_key_is_refused_says_so(served: str, database: Database) -> None:
    a_key(database, "admin")
    client = WorkerClient(served)
    with pytest.raises(NotAllowed, match="needs an API key"):
        client.say_goodbye("w1")
    client.close()


@pytest.mark.parametrize("command", ["up", "server"])
def test_without_keys_only_loopback_is_served(command: str, database: Database, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [command, "--host", "0.0.0.0", "--data-dir", str(tmp_path)])
    assert result.exit_code == 1
    assert "listens on this machine only (got --host 0.0.0.0)" in result.output
    assert f"`hourglass keys create NAME --role admin --data-dir {tmp_path}`" in result.output


def test_with_a_key_any_address_may_be_listened_on(database: Database, tmp_path: Path) -> None:
    a_key(database, "admin")
    require_keys_off_loopback("0.0.0.0", Settings(home=tmp_path))
