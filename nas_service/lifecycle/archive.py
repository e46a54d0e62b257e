"""What a backup is: one tar with the artifacts, the database, and last a manifest of digests. Unpacked without trust.

A tar that was cut short lacks its manifest. Leaves out how a backup is made (`backup.py`) and used (`restore.py`).
"""

import hashlib
import tarfile
from pathlib import Path, PurePosixPath
from typing import Annotated, BinaryIO

from pydantic import Field

from nas_service.artifacts import PIECE_BYTES
from nas_service.domain.digests import DIGEST_PATTERN
from nas_service.domain.values import Value

FORMAT = "hourglass-backup-1"
MANIFEST = "manifest.json"
DATABASE = "hourglass.db"
ARTIFACTS = "artifacts"
MAX_MANIFEST_BYTES = 256 * 2**20  # a line a file


class BackupError(ValueError):
    """A backup cannot be made or used; the message says why and what to do."""


class Entry(Value):
    """One file of a backup."""

    digest: Annotated[str, Field(pattern=DIGEST_PATTERN)]
    size_bytes: Annotated[int, Field(ge=0)]


class Manifest(Value):
    """What stands in a backup."""

    format: str
    version: str  # of the program that made it
    schema_revision: str
    made_at: str
    files: dict[str, Entry]  # by their names in the tar; the database is one of them


def read_manifest(archive: tarfile.TarFile) -> Manifest:
    """The manifest of a backup whose members are those that it names, plain files below the root.

    Raises:
        BackupError: when the archive is not such a one.
    """
    members = archive.getmembers()
    if not members or members[-1].name != MANIFEST or members[-1].size > MAX_MANIFEST_BYTES:
        raise BackupError("this is no backup of hourglass, or it was cut short: its last file is no manifest")
    file = archive.extractfile(members[-1])
    if file is None:
        raise BackupError("this is no backup of hourglass: its manifest is no file")
    try:
        manifest = Manifest.model_validate_json(file.read())
    except ValueError as error:
        raise BackupError(f"the backup's manifest cannot be read: {error}") from error
    if manifest.format != FORMAT:
        raise BackupError(f"the backup has format {manifest.format!r}; this program reads {FORMAT!r}")
    for member in members[:-1]:
        if not member.isreg() or not is_safe(member.name):
            raise BackupError(f"the backup holds {member.name!r}, which is no plain file below its root; do not use it")
    names = [member.name for member in members[:-1]]
    if sorted(names) != sorted(manifest.files) or DATABASE not in names:
        raise BackupError("the backup does not hold the files that its manifest names; it is damaged")
    return manifest


def is_safe(name: str) -> bool:
    """Whether a name leads to a file below the root, by itself."""
    path = PurePosixPath(name)
    is_ours = name == DATABASE or (path.parts[:1] == (ARTIFACTS,) and len(path.parts) > 1)
    return is_ours and str(path) == name and ".." not in path.parts and "\\" not in name and "\0" not in name


def unpack(archive: tarfile.TarFile, name: str, entry: Entry, target: Path) -> None:
    """Write one file of the archive to a place of ours, and hold it against its digest; raises BackupError."""
    source = archive.extractfile(name)
    assert source is not None, "it is a plain file"
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("xb") as file:
        while piece := source.read(PIECE_BYTES):
            digest.update(piece)
            size += len(piece)
            file.write(piece)
    if (f"sha256:{digest.hexdigest()}", size) != (entry.digest, entry.size_bytes):
        raise BackupError(f"{name} in the backup is not what was written into it; the backup is damaged")


def pack(archive: tarfile.TarFile, name: str, file: BinaryIO, size_bytes: int) -> None:
    """Append an open file to the archive; closes it."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, 0o600
    with file:
        archive.addfile(member, file)
