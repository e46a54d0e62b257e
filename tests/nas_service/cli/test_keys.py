"""`hourglass keys` on a database, without a server."""

from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from nas_service.cli import app
from nas_service.database import Database
from nas_service.database.audit import newest_entries
from nas_service.database.keys import every_key
from nas_service.domain.records import AuditEntry, StoredKey
from nas_service.lifecycle.errors import NotSignedIn
from nas_service.lifecycle.keys import caller_of


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("USER", "ada")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "home"


def keys(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["keys", *arguments, "--data-dir", str(home)])


def refusal(result: Result) -> str:
    assert result.exit_code != 0
    return " ".join(f"{result.stderr} {result.exception}".split())


def stored(home: Path) -> tuple[list[StoredKey], list[AuditEntry]]:
    database = Database(f"sqlite:///{home / 'hourglass.db'}")
    with database.read() as connection:
        found = every_key(connection), newest_entries(connection, 10)
    database.close()
    return found


def test_the_first_key_makes_the_database_and_is_shown_once(home: Path) -> None:
    made = keys(home, "create", "ada", "--role", "admin")
    assert made.exit_code == 0
    text = made.stdout.strip()
    assert text.startswith("hg_1_")
    assert "HOURGLASS_API_KEY=THE_KEY hourglass searches" in made.stderr
    assert "from now on every call needs one" in made.stderr
    assert text.split("_", 2)[2].encode() not in (home / "hourglass.db").read_bytes()
    database = Database(f"sqlite:///{home / 'hourglass.db'}")
    with database.read() as connection:
        assert caller_of(connection, text, own=None)[0].name == "ada"
    database.close()


def test_keys_are_listed_with_what_is_known_of_them(home: Path) -> None:
    keys(home, "create", "ada", "--role", "submitter", "--expires", "90", "--max-trials", "5000")
    second = keys(home, "create", "gpu-1", "--role", "worker")
    assert "first key" not in second.stderr
    assert "hourglass worker" in second.stderr
    listed = keys(home, "list").output
    assert all(word in listed for word in ("ada", "submitter", "max_trials 5,000", "gpu-1", "worker", "valid"))
    assert second.stdout.strip() not in listed
    (ada, gpu), _ = stored(home)
    assert (ada.expires_at - ada.created_at).total_seconds() == pytest.approx(90 * 86400)
    assert gpu.expires_at is None


def test_a_revoked_key_is_good_for_nothing_and_its_name_stays_taken(home: Path) -> None:
    text = keys(home, "create", "ada", "--role", "viewer").stdout.strip()
    assert keys(home, "revoke", "ada").output == "the key ada is revoked\n"
    database = Database(f"sqlite:///{home / 'hourglass.db'}")
    with database.read() as connection, pytest.raises(NotSignedIn, match="the API key ada was revoked"):
        caller_of(connection, text, own=None)
    database.close()
    again = keys(home, "create", "ada", "--role", "viewer")
    assert "there is a key ada already (revoked, viewer); choose another name" in refusal(again)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create", "ada", "--role", "boss"], "'boss' is not one of"),
        (["create", "a b", "--role", "admin"], "a key's name has 1 to 64 letters"),
        (["create", "ada", "--role", "admin", "--max-trials", "-1"], "--max-trials"),
        (["revoke", "nobody"], "there is no key nobody; `hourglass keys list` shows those that there are"),
    ],
)
def test_what_cannot_be_done_is_said_and_leaves_nothing(home: Path, arguments: list[str], sentence: str) -> None:
    assert sentence in refusal(keys(home, *arguments))
    keys(home, "list")
    assert stored(home) == ([], [])


def test_the_audit_tells_who_made_and_revoked_a_key(home: Path) -> None:
    keys(home, "create", "ada", "--role", "viewer")
    keys(home, "revoke", "ada")
    keys(home, "revoke", "ada")
    revoked, created = stored(home)[1]
    assert (revoked.action, revoked.detail) == ("key_revoked", {"name": "ada"})
    assert (created.action, created.detail["role"], created.key_id) == ("key_created", "viewer", None)
    assert created.actor.startswith("command line, ada@")
