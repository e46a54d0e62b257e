"""A backup of the embedded service while it runs: the database as of one moment, and the files that its rows name.

A file that went since that moment (a newer checkpoint came, say) is left out together with its row.
"""

import os
import tarfile
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

from nas_service.artifacts import ArtifactStore, BrokenArtifact, digest_of_file
from nas_service.database import Database
from nas_service.database.artifacts import every_artifact, forget_artifacts
from nas_service.database.migrate import revision_of
from nas_service.database.snapshot import copy_sqlite
from nas_service.lifecycle.archive import ARTIFACTS, DATABASE, FORMAT, MANIFEST, BackupError, Entry, Manifest, pack
from nas_service.settings import Settings


class Made(NamedTuple):
    """What a backup holds."""

    artifacts: int
    size_bytes: int
    left_out: int  # files that had gone or were broken, with their rows


def back_up(settings: Settings, target: Path, on_broken: Callable[[str], None]) -> Made:
    """Write a backup to a new file, whole or not at all.

    Args:
        settings: of the embedded service.
        target: the archive; it must not exist.
        on_broken: told of each file that is left out.

    Raises:
        BackupError: when there is nothing to back up, or the target cannot be written.
    """
    if settings.database_url is not None:
        raise BackupError(
            "this backs up the embedded service; for HOURGLASS_DATABASE_URL use pg_dump, and copy the artifacts"
        )
    if not settings.path_of_database.is_file():
        raise BackupError(f"there is no {settings.path_of_database}; name the service's folder by --data-dir")
    if target.exists():
        raise BackupError(f"{target} exists; choose another name, or remove it")
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".hourglass-backup-") as folder:
            made = _write(settings, Path(folder), on_broken)
            os.replace(Path(folder) / "backup.tar", target)
    except OSError as error:
        raise BackupError(f"cannot write {target}: {error.strerror or error}") from error
    return made


def _write(settings: Settings, folder: Path, on_broken: Callable[[str], None]) -> Made:
    copy = folder / DATABASE
    copy_sqlite(settings.url_of_database, copy)
    database = Database(f"sqlite:///{copy}")
    with (folder / "backup.tar").open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            entries, gone = _pack_artifacts(archive, database, ArtifactStore(settings.url_of_artifacts), on_broken)
            with database.write() as connection:
                forget_artifacts(connection, gone)
            database.close()
            entries[DATABASE] = _entry_of(copy)
            pack(archive, DATABASE, copy.open("rb"), entries[DATABASE].size_bytes)
            _pack_manifest(archive, entries, revision_of(f"sqlite:///{copy}"))
        file.flush()
        os.fsync(file.fileno())
        return Made(len(entries) - 1, file.tell(), len(gone))


def _pack_artifacts(
    archive: tarfile.TarFile, database: Database, store: ArtifactStore, on_broken: Callable[[str], None]
) -> tuple[dict[str, Entry], list[int]]:
    """Append the files that rows name; returns their entries, and the ids of the rows whose files are no more."""
    with database.read() as connection:
        rows = every_artifact(connection)
    entries: dict[str, Entry] = {}
    gone = []
    for row in rows:
        try:
            file = store.open(row.path, row.digest)
        except BrokenArtifact as error:
            on_broken(str(error))
            gone.append(row.id)
            continue
        entry = Entry(digest=row.digest, size_bytes=row.size_bytes)
        entries[f"{ARTIFACTS}/{row.path}"] = entry
        pack(archive, f"{ARTIFACTS}/{row.path}", file, row.size_bytes)
    return entries, gone


def _entry_of(path: Path) -> Entry:
    with path.open("rb") as file:
        return Entry(digest=digest_of_file(file), size_bytes=path.stat().st_size)


def _pack_manifest(archive: tarfile.TarFile, entries: dict[str, Entry], revision: str | None) -> None:
    if revision is None:
        raise BackupError("the database has no schema; start the service once before backing it up")
    manifest = Manifest(
        format=FORMAT,
        version=version("hourglass-nas"),
        schema_revision=revision,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        files=entries,
    )
    content = manifest.model_dump_json(indent=1).encode()
    pack(archive, MANIFEST, BytesIO(content), len(content))
