"""Where a dataset's files may lie, and the errors of reading them. Nothing outside the data directory is ever opened.

Leaves out what the files hold.
"""

import os
from pathlib import Path, PurePosixPath


class DatasetError(ValueError):
    """A dataset cannot be read; the message names the file and says what to do."""


class DigestMismatch(DatasetError):
    """The images are not the ones that the search was made for."""

    def __init__(self, key: str, found: str, expected: str) -> None:
        super().__init__(
            f"{key} has digest {found}, expected {expected}; "
            "these are other images than the search was made for: replace them, or submit the search anew"
        )
        self.found = found  # sha256:<hex> of the images that are there


def path_below(data_dir: Path, name: str) -> Path:
    """The real path of `name` below the data directory.

    Raises:
        DatasetError: when the name is absolute, climbs with `..`, follows a link out of the directory, or is absent.
    """
    relative = PurePosixPath(name)
    if relative.is_absolute() or ".." in relative.parts or "\\" in name or "\0" in name:
        raise DatasetError(f"a dataset path must stay below the data directory, without .. (got {name!r})")
    path = Path(os.path.realpath(data_dir / relative))
    check_below(data_dir, path)
    if not path.exists():
        raise DatasetError(f"there is no {name!r} in the data directory {data_dir}; put it there or correct the name")
    return path


def is_below(data_dir: Path, path: Path) -> bool:
    """Whether a path, its links followed, stays in the data directory."""
    root = os.path.realpath(data_dir)
    return os.path.commonpath([root, os.path.realpath(path)]) == root


def check_below(data_dir: Path, path: Path) -> None:
    """Raise `DatasetError` when a path, its links followed, leaves the data directory."""
    if not is_below(data_dir, path):
        raise DatasetError(f"{path} leads out of the data directory {data_dir}; copy the files into it instead")


def check_size(path: Path, size_bytes: int) -> None:
    """Raise `DatasetError` when images of that size, as their files state it, would fill half of the memory."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size_bytes > memory // 2:
        raise DatasetError(
            f"{path} states {size_bytes / 2**30:.1f} GiB of images, more than half of this machine's "
            f"{memory / 2**30:.1f} GiB of memory; take fewer or smaller ones"
        )


def require_data_dir(data_dir: Path | None, key: str) -> Path:
    """The data directory, for datasets that exist nowhere else.

    Raises:
        DatasetError: when there is none.
    """
    if data_dir is None:
        raise DatasetError(f"{key} needs a data directory: pass --datasets or set HOURGLASS_DATA_DIR")
    if not data_dir.is_dir():
        raise DatasetError(f"the data directory {data_dir} does not exist")
    return data_dir
