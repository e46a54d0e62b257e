"""A backup becomes the folder of an embedded service again: every digest checked, an older schema migrated."""

import os
import tarfile
import tempfile
from pathlib import Path

from nas_service.database.migrate import DatabaseUnusable, is_known, revision_of, upgrade
from nas_service.lifecycle.archive import DATABASE, BackupError, Manifest, read_manifest, unpack


def restore(source: Path, home: Path) -> Manifest:
    """Unpack a backup into a folder that is empty or not there yet, whole or not at all.

    Raises:
        BackupError: when the folder holds something, or the backup is damaged, hostile or of a newer version.
    """
    if home.exists() and (not home.is_dir() or any(home.iterdir())):
        raise BackupError(f"{home} is not empty; choose a folder that is, or that is not there yet")
    try:
        home.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(source, "r:") as archive:
            return _restore(archive, home)
    except tarfile.TarError as error:
        raise BackupError(f"{source} cannot be read as a tar ({error}); is it a backup, and whole?") from error
    except OSError as error:
        raise BackupError(f"cannot restore {source} to {home}: {error.strerror or error}") from error


def _restore(archive: tarfile.TarFile, home: Path) -> Manifest:
    manifest = read_manifest(archive)
    if not is_known(manifest.schema_revision):
        raise BackupError(
            f"the backup is at schema {manifest.schema_revision}, which this version does not know; restore it with "
            f"version {manifest.version} or newer"
        )
    # Beside the folder that it becomes: a rename is whole or not at all.
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=".hourglass-restore-") as temporary:
        folder = Path(temporary) / "home"
        folder.mkdir(mode=0o700)
        for name, entry in manifest.files.items():
            unpack(archive, name, entry, folder / name)
        url = f"sqlite:///{folder / DATABASE}"
        try:
            if revision_of(url) != manifest.schema_revision:
                raise BackupError("the backup's database is not at the schema that its manifest states; do not use it")
            upgrade(url)
        except DatabaseUnusable as error:
            raise BackupError(f"the backup's database cannot be used: {error}") from error
        os.replace(folder, home)
    return manifest
