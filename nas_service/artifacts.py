"""The files that trials leave behind: written to a temporary name, synced, renamed; each with its digest.

A store is a folder or any fsspec URL (s3://bucket/prefix). Which files exist is for the database to say.
"""

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple, Self

import fsspec
from fsspec.implementations.local import LocalFileSystem

PIECE_BYTES = 2**20  # files are read and written in pieces: none is ever in memory as a whole
PART = ".part"  # ends the name of a file that is still being written


class BrokenArtifact(OSError):
    """The file is missing or is not what was written."""


class StoreFails(OSError):
    """The store does not take a file: its disk is full, broken or not ours to write."""


class StoreFile(NamedTuple):
    """A file that lies in the store, whether a row names it or not."""

    path: str  # below the store's root
    size_bytes: int
    changed_at: float  # seconds since 1970


class Part:
    """A file on its way into the store, under a temporary name until it is kept; a context manager.

    Its methods raise StoreFails.
    """

    def __init__(self, files: fsspec.AbstractFileSystem, root: str, path: str) -> None:
        self.path = path  # below the store's root, once it is kept
        self.size_bytes = 0
        self._digest = hashlib.sha256()
        self._files = files
        self._target = f"{root}/{path}"
        self._temporary = f"{self._target}.{secrets.token_hex(4)}{PART}"
        self._is_kept = False
        with _writing():
            files.makedirs(os.path.dirname(self._target), exist_ok=True)
            self._file = files.open(self._temporary, "wb")

    @property
    def digest(self) -> str:
        """The digest of what was written so far."""
        return f"sha256:{self._digest.hexdigest()}"

    def write(self, piece: bytes) -> None:
        """Append to the file."""
        with _writing():
            self._file.write(piece)
        self._digest.update(piece)
        self.size_bytes += len(piece)

    def keep(self) -> None:
        """Give the file its name; from now on it is there, also after a power cut."""
        with _writing():
            self._file.flush()
            if is_local := isinstance(self._files, LocalFileSystem):
                os.fsync(self._file.fileno())
            self._file.close()
            self._files.mv(self._temporary, self._target)
            self._is_kept = True
            if is_local:
                folder = os.path.dirname(self._target)
                sync_folder(folder)
                sync_folder(os.path.dirname(folder))  # where the folder itself may be new

    def remove(self) -> None:
        """Remove the file, kept or not; nothing happens when it is gone."""
        with suppress(OSError):  # of a disk that is full: what cannot be flushed
            self._file.close()
        for path in (self._temporary, self._target) if self._is_kept else (self._temporary,):
            with suppress(OSError):  # `gc` finds it
                self._files.rm_file(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_kept:  # a part of a file would only fill the disk further
            self.remove()


class ArtifactStore:
    """A place for files, addressed by paths below its root."""

    def __init__(self, url: str) -> None:
        self._files, self._root = fsspec.url_to_fs(url)
        self._files.makedirs(self._root, exist_ok=True)

    def part(self, path: str) -> Part:
        """Begin a file that will lie under the path, whole or not at all; raises StoreFails."""
        return Part(self._files, self._root, path)

    def open(self, path: str, digest: str) -> BinaryIO:
        """A file to read, found to be what was written; it is read through once before.

        Raises:
            BrokenArtifact: when it is missing, cannot be read, or its digest differs.
        """
        try:
            file: BinaryIO = self._files.open(self._at(path), "rb")
        except FileNotFoundError as error:
            raise BrokenArtifact(f"the file {path} is missing from the artifact store") from error
        except OSError as error:
            raise BrokenArtifact(f"the file {path} in the artifact store cannot be read ({_why(error)})") from error
        try:
            found = digest_of_file(file)
            file.seek(0)
        except OSError as error:
            file.close()
            raise BrokenArtifact(f"the file {path} in the artifact store cannot be read ({_why(error)})") from error
        if found != digest:
            file.close()
            raise BrokenArtifact(f"the file {path} in the artifact store was changed after it was written")
        return file

    def remove(self, path: str) -> None:
        """Remove a file; nothing happens when it is gone."""
        if self._files.exists(self._at(path)):
            self._files.rm_file(self._at(path))

    def files(self) -> list[StoreFile]:
        """Everything that lies in the store, temporary files too."""
        found = self._files.find(self._root, detail=True)
        return [
            StoreFile(os.path.relpath(name, self._root), facts["size"], self._files.modified(name).timestamp())
            for name, facts in found.items()
        ]

    def free_bytes(self) -> int | None:
        """How much room the disk has; None for a store that is not a local folder."""
        return shutil.disk_usage(self._root).free if isinstance(self._files, LocalFileSystem) else None

    def _at(self, path: str) -> str:
        return f"{self._root}/{path}"


def pieces_of(file: BinaryIO) -> Iterator[bytes]:
    """What a file holds, piece by piece; closes it."""
    with file:
        while piece := file.read(PIECE_BYTES):
            yield piece


def digest_of_file(file: BinaryIO) -> str:
    """The digest of what an open file holds from here on."""
    digest = hashlib.sha256()
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
    return f"sha256:{digest.hexdigest()}"


def sync_folder(folder: str) -> None:
    """Make a rename last: the name is in the folder, not in the file."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"the artifact store does not take the file ({_why(error)}); make room there, or mend its disk"
        raise StoreFails(message) from error


def _why(error: OSError) -> str:
    return error.strerror or str(error)
