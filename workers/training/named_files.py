"""The named datasets' own files: digits from scikit-learn, MNIST and Fashion-MNIST as IDX, CIFAR-10 as its binary tar.

Fetches them with pooch where that is allowed. CIFAR-10's pickled edition is never read. Leaves out splits.
"""

import gzip
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pooch
from sklearn.datasets import load_digits

from workers.training.data_paths import DatasetError, check_below, is_below
from workers.training.image_arrays import ImageArrays, Images, Labels

# The md5 sums are those that torchvision publishes for the same files.
MNIST_FILES = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
FASHION_MNIST_FILES = {
    "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
    "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
    "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
}
CIFAR10_FILES = {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"}
SOURCES = {
    "mnist": ("https://ossci-datasets.s3.amazonaws.com/mnist/", MNIST_FILES),
    "fashion_mnist": ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/", FASHION_MNIST_FILES),
    "cifar10": ("https://www.cs.toronto.edu/~kriz/", CIFAR10_FILES),
}
CIFAR10_IMAGE_BYTES = 3 * 32 * 32
DIGITS_SCALE = 16  # load_digits counts ink in 4x4 cells: 0 to 16


def read_named(name: str, folder: Path, fetch: bool) -> ImageArrays:
    """Read a named dataset from its folder, fetching missing files into it when `fetch` says so.

    Raises:
        DatasetError: when a file is missing, cannot be fetched, or is damaged.
    """
    if name == "digits":
        return _read_digits()
    files = {file: _find(name, folder, file, fetch) for file in SOURCES[name][1]}
    if name == "cifar10":
        return _read_cifar10(files["cifar-10-binary.tar.gz"])
    images, labels = _read_idx_pair(files, "train")
    test_images, test_labels = _read_idx_pair(files, "t10k")
    return ImageArrays(images, labels, 10, test_images, test_labels)


def files_are_there(name: str, folder: Path) -> bool:
    """Whether every file of a named dataset lies in its folder."""
    found = [_existing(folder, file) for file in SOURCES[name][1]]
    return all(path is not None and is_below(folder.parent, path) for path in found)


def _existing(folder: Path, file: str) -> Path | None:
    """The file or, where it lies there unpacked, its content."""
    unpacked = file if file.endswith(".tar.gz") else file.removesuffix(".gz")
    return next((path for path in (folder / file, folder / unpacked) if path.is_file()), None)


def _find(name: str, folder: Path, file: str, fetch: bool) -> Path:
    if (path := _existing(folder, file)) is not None:
        check_below(folder.parent, path)
        return path
    url, files = SOURCES[name]
    by_hand = f"put the files of {url} ({', '.join(files)}) into {folder}"
    if not fetch:
        raise DatasetError(f"{name} lacks {folder / file}; {by_hand}, or allow fetching")
    try:
        return Path(pooch.retrieve(url + file, known_hash=f"md5:{files[file]}", fname=file, path=folder))
    except (OSError, ValueError) as error:
        raise DatasetError(f"{name} could not be fetched from {url + file} ({error}); {by_hand}") from error


def _read_digits() -> ImageArrays:
    digits = load_digits()
    images = digits.images.astype(np.uint8)[:, None]  # (1797, 1, 8, 8)
    return ImageArrays(images, digits.target.astype(np.int64), 10, scale=DIGITS_SCALE)


def _read_idx_pair(files: dict[str, Path], part: str) -> tuple[Images, Labels]:
    images_path, labels_path = files[f"{part}-images-idx3-ubyte.gz"], files[f"{part}-labels-idx1-ubyte.gz"]
    images = _read_idx(images_path, dimensions=3)[:, None]  # (N, 1, H, W)
    labels = _read_idx(labels_path, dimensions=1).astype(np.int64)
    if len(images) != len(labels):
        raise DatasetError(
            f"{images_path} has {len(images)} images, {labels_path} {len(labels)} labels; fetch both again"
        )
    return images, labels


def _read_idx(path: Path, dimensions: int) -> Images:
    """Read an IDX file of bytes: 0, 0, type 8, number of dimensions, their sizes big-endian, then the values."""
    content = _read_bytes(path)
    start = 4 + 4 * dimensions
    sizes = np.frombuffer(content[4:start], dtype=">u4").astype(np.int64)
    whole = len(sizes) == dimensions and len(content) == start + int(np.prod(sizes))
    if content[:4] != bytes([0, 0, 8, dimensions]) or not whole:
        raise DatasetError(f"{path} is no IDX file of {dimensions} dimensions or is cut short; fetch it again")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(sizes)


def _read_bytes(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be read ({error}); fetch it again") from error


def _read_cifar10(path: Path) -> ImageArrays:
    """Read the binary edition: records of a label byte and 3072 bytes, red, green and blue planes by rows."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            members = {Path(member.name).name: member for member in archive.getmembers() if member.isfile()}
            train = b"".join(_member(archive, members, f"data_batch_{batch}.bin") for batch in range(1, 6))
            test = _member(archive, members, "test_batch.bin")
    except (OSError, EOFError, KeyError, zlib.error, tarfile.TarError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); fetch it again") from error
    images, labels = _cifar10_records(path, train)
    test_images, test_labels = _cifar10_records(path, test)
    return ImageArrays(images, labels, 10, test_images, test_labels)


def _member(archive: tarfile.TarFile, members: dict[str, tarfile.TarInfo], name: str) -> bytes:
    file = archive.extractfile(members[name])
    assert file is not None, "only plain files were kept"
    return file.read()


def _cifar10_records(path: Path, content: bytes) -> tuple[Images, Labels]:
    if not content or len(content) % (1 + CIFAR10_IMAGE_BYTES):
        raise DatasetError(f"{path} holds a batch that is no whole number of records; fetch it again")
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, 1 + CIFAR10_IMAGE_BYTES)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0].astype(np.int64)
