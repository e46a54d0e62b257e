"""The files that trials leave behind: written to a temporary name, synced, renamed; each with its digest.

A store is a folder or any fsspec URL (s3://bucket/prefix). Which files exist is for the database to say.
"""

import hashlib
import os
import secrets
import shutil

import fsspec
from fsspec.implementations.local import LocalFileSystem


class BrokenArtifact(OSError):
    """The file is missing or is not what was written."""


class ArtifactStore:
    """A place for files, addressed by paths below its root."""

    def __init__(self, url: str) -> None:
        self._files, self._root = fsspec.url_to_fs(url)
        self._files.makedirs(self._root, exist_ok=True)

    def write(self, path: str, content: bytes) -> str:
        """Store the content under the path, whole or not at all; returns its digest."""
        target = self._at(path)
        temporary = f"{target}.{secrets.token_hex(4)}.part"
        self._files.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            with self._files.open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                if hasattr(file, "fileno"):
                    os.fsync(file.fileno())
            self._files.mv(temporary, target)
        except BaseException:  # the disk is full, say: a part of a file would fill it further
            if self._files.exists(temporary):
                self._files.rm_file(temporary)
            raise
        return digest_of(content)

    def read(self, path: str, digest: str) -> bytes:
        """The content of a file.

        Raises:
            BrokenArtifact: when it is missing or its digest differs.
        """
        try:
            content: bytes = self._files.cat_file(self._at(path))
        except FileNotFoundError as error:
            raise BrokenArtifact(f"the file {path} is missing from the artifact store") from error
        if digest_of(content) != digest:
            raise BrokenArtifact(f"the file {path} in the artifact store was changed after it was written")
        return content

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens when it is gone."""
        if self._files.exists(self._at(path)):
            self._files.rm_file(self._at(path))

    def free_bytes(self) -> int | None:
        """How much room the disk has; None for a store that is not a local folder."""
        return shutil.disk_usage(self._root).free if isinstance(self._files, LocalFileSystem) else None

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"


def digest_of(content: bytes) -> str:
    """The digest by which contents are told apart."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
