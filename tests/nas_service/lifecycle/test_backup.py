"""Backup, restore and gc of the embedded service's data, by the commands' own verbs."""

import io
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from time import time
from typing import Any

import pytest
from sqlalchemy import text

from nas_service.artifacts import ArtifactStore, digest_of
from nas_service.database import Database
from nas_service.database.artifacts import every_artifact
from nas_service.database.migrate import require_current
from nas_service.database.searches import newest_searches
from nas_service.lifecycle.archive import BackupError
from nas_service.lifecycle.arrivals import Lessee, keep_file, place_for
from nas_service.lifecycle.backup import Made, back_up
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.garbage import remove_unnamed, unnamed_files
from nas_service.lifecycle.restore import restore
from nas_service.settings import Settings
from tests.builders import a_result, enqueued, leased, submitted


@pytest.fixture
def home(tmp_path: Path, database: Database) -> Path:
    """The folder of a service with two networks, of which one is on the front."""
    store = ArtifactStore(str(tmp_path / "artifacts"))
    search_id = submitted(database, keep_networks="all")
    for number in (0, 1):
        enqueued(database, search_id, d_h=8 + number)
        held = leased(database, tmp_path, request_id=f"request-{number}")
        content = f"network {number}".encode()
        with store.part(place_for(database, Lessee(held.lease_id, held.token), "network")) as part:
            part.write(content)
            keep_file(database, Lessee(held.lease_id, held.token), "network", part, digest_of(content))
        with database.write() as connection:
            finish(connection, held.lease_id, held.token, a_result(20.0 + number))
    return tmp_path


def backed_up(home: Path, on_broken: Callable[[str], None] = print) -> tuple[Path, Made]:
    target = home.parent / f"{home.name}.tar"
    target.unlink(missing_ok=True)
    return target, back_up(Settings(home=home), target, on_broken)


def networks(home: Path) -> list[bytes]:
    """The networks of a folder by its rows, each held against its digest."""
    database, store = Database(Settings(home=home).url_of_database), ArtifactStore(str(home / "artifacts"))
    with database.read() as connection:
        rows = every_artifact(connection)
    database.close()
    return sorted(store.open(row.path, row.digest).read() for row in rows)


def test_what_is_restored_is_what_was_there(home: Path, tmp_path: Path) -> None:
    archive, made = backed_up(home)
    restored = tmp_path / "restored"
    manifest = restore(archive, restored)
    assert (made.artifacts, made.left_out, len(manifest.files)) == (2, 0, 3)
    assert networks(restored) == [b"network 0", b"network 1"]
    require_current(Settings(home=restored).url_of_database)
    database = Database(Settings(home=restored).url_of_database)
    with database.read() as connection:
        assert [search.name for search in newest_searches(connection, 10)] == ["test"]
    database.close()
    assert sorted(path.name for path in restored.iterdir()) == ["artifacts", "hourglass.db"]


def test_a_backup_is_of_one_moment_although_others_write(home: Path, tmp_path: Path, database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE searches SET name = 'not committed'"))
        archive, _ = backed_up(home)
    restore(archive, tmp_path / "restored")
    copy = Database(Settings(home=tmp_path / "restored").url_of_database)
    with copy.read() as connection:
        assert [search.name for search in newest_searches(connection, 10)] == ["test"]
    copy.close()


def test_files_that_are_gone_or_broken_are_left_out_with_their_rows(home: Path, tmp_path: Path) -> None:
    first, second = sorted((home / "artifacts").rglob("*.safetensors"))
    first.unlink()
    second.write_bytes(b"other")
    said: list[str] = []
    archive, made = backed_up(home, said.append)
    assert (made.artifacts, made.left_out) == (0, 2)
    assert ["is missing" in said[0], "was changed" in said[1]] == [True, True]
    restore(archive, tmp_path / "restored")
    assert networks(tmp_path / "restored") == []


def test_a_folder_that_holds_something_or_a_backup_that_is_there_stays_as_it_is(home: Path, tmp_path: Path) -> None:
    archive, _ = backed_up(home)
    with pytest.raises(BackupError, match="is not empty"):
        restore(archive, home)
    with pytest.raises(BackupError, match="exists; choose another name"):
        back_up(Settings(home=home), archive, print)
    (tmp_path / "empty").mkdir()
    restore(archive, tmp_path / "empty")


def test_only_the_embedded_service_is_backed_up(tmp_path: Path) -> None:
    with pytest.raises(BackupError, match="pg_dump"):
        back_up(Settings(home=tmp_path, database_url="postgresql+psycopg://x"), tmp_path / "a.tar", print)
    with pytest.raises(BackupError, match="name the service's folder"):
        back_up(Settings(home=tmp_path / "nothing"), tmp_path / "a.tar", print)
    assert list(tmp_path.iterdir()) == []


# ---- archives that were changed


def changed(archive: Path, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> Path:
    """The same archive with other members."""
    with tarfile.open(archive) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar.getmembers()]
    change(members)
    with tarfile.open(archive, "w") as tar:
        for member, content in members:
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive


def manifest_with(**changes: Any) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        member, content = members[-1]
        members[-1] = (member, json.dumps(json.loads(content) | changes).encode())

    return change


def renamed(name: str) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    """The first artifact under another name, in the manifest too."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        manifest = json.loads(members[-1][1])
        manifest["files"][name] = manifest["files"].pop(members[0][0].name)
        members[0][0].name = name
        members[-1] = (members[-1][0], json.dumps(manifest).encode())

    return change


def linked(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[0][0].type, members[0][0].linkname = tarfile.SYMTYPE, "/etc/passwd"
    members[0] = (members[0][0], b"")


def altered(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members[0] = (members[0][0], members[0][1][:-1] + b"!")


def unnamed(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members.insert(0, (tarfile.TarInfo("artifacts/search-1/more"), b"more"))


def doubled(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    members.insert(0, (tarfile.TarInfo(members[0][0].name), members[0][1]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (renamed("../outside"), "no plain file below its root"),
        (renamed("artifacts/../../outside"), "no plain file below its root"),
        (renamed("/tmp/outside"), "no plain file below its root"),
        (renamed("artifacts/./outside"), "no plain file below its root"),
        (renamed("lock"), "no plain file below its root"),
        (linked, "no plain file below its root"),
        (altered, "is not what was written into it"),
        (unnamed, "does not hold the files that its manifest names"),
        (doubled, "does not hold the files that its manifest names"),
        (lambda members: members.pop(), "no manifest"),
        (lambda members: members.pop(0), "does not hold the files"),
        (manifest_with(schema_revision="2999_01_01"), "which this version does not know"),
        (manifest_with(format="hourglass-backup-9"), "this program reads"),
        (manifest_with(files=3), "manifest cannot be read"),
    ],
)
def test_a_backup_that_was_changed_is_refused_and_leaves_nothing(
    home: Path, tmp_path: Path, change: Callable[..., None], says: str
) -> None:
    archive, _ = backed_up(home)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(BackupError, match=says):
        restore(changed(archive, change), tmp_path / "restored")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("keep", [0, 700, 5_000])
def test_a_backup_that_was_cut_short_is_refused(home: Path, tmp_path: Path, keep: int) -> None:
    archive, _ = backed_up(home)
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(BackupError):
        restore(archive, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()


# ---- gc


def aged(path: Path, seconds: float) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"12345")
    os.utime(path, (time() - seconds, time() - seconds))
    return path


def test_gc_removes_what_no_row_names_and_leaves_the_rest(home: Path, database: Database) -> None:
    folder, hour = home / "artifacts", 3601
    named = sorted(folder.rglob("*.safetensors"))
    for path in named:
        os.utime(path, (0, 0))
    old = [
        aged(folder / "search-1" / "trial-1-0123456789abcdef.checkpoint", hour),
        aged(folder / "search-9" / "trial-7-0123456789abcdef.safetensors.0a1b2c3d.part", hour),
    ]
    young = aged(folder / "search-1" / "trial-2-0123456789abcdef.checkpoint.0a1b2c3d.part", hour - 60)
    foreign = [aged(folder / "search-1" / "notes.txt", hour), aged(folder / "trial-1-0123.checkpoint", hour)]
    store = ArtifactStore(str(folder))
    assert [folder / file.path for file in unnamed_files(database, store)] == old
    assert sum(file.size_bytes for file in remove_unnamed(database, store)) == 10
    assert sorted(path for path in folder.rglob("*") if path.is_file()) == sorted([*named, young, *foreign])
    assert remove_unnamed(database, store) == []
