"""Datasets as workers use them: read once, checked, split by the published rule, kept as bytes.

Which are there, what they hold, and in which split each image falls. Leaves out the files' formats (`named_files.py`,
`user_files.py`) and what a task makes of the images (`tasks.py`).

N: images, C: channels, H, W: height and width.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pooch
import torch
from torch import Tensor

from nas_service.domain.tasks import KNOWN_DATASETS, Dataset
from workers.training.data_paths import DatasetError, DigestMismatch, is_below, path_below, require_data_dir
from workers.training.image_arrays import ImageArrays, Images, Labels
from workers.training.named_files import SOURCES, files_are_there, read_named
from workers.training.user_files import folder_shape, is_split, npz_shape, read_folder, read_npz

__all__ = [
    "DatasetError",
    "DigestMismatch",
    "LoadedDataset",
    "Split",
    "available_datasets",
    "describe_dataset",
    "find_dataset",
    "load_dataset",
]

SPLIT_SEED = 42  # of the published protocol, for every run and every dataset


@dataclass(frozen=True)
class Split:
    """One part of a dataset."""

    images: Tensor  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64; all 0 where the dataset has none


@dataclass(frozen=True)
class LoadedDataset:
    """A dataset in memory, split."""

    dataset: Dataset  # as the search names it
    train: Split
    eval: Split
    test: Split
    classes: int  # 0 where there are no labels
    scale: int  # the pixel value that means 1.0
    digest: str  # sha256:<hex> over decoded images and labels


def load_dataset(dataset: Dataset, data_dir: Path | None, fetch: bool) -> LoadedDataset:
    """Read a dataset from below `data_dir` and split it.

    Args:
        dataset: which one, and the facts that it must agree with.
        data_dir: the folder with `<name>/<original files>`, folders of images and npz files.
        fetch: whether missing files of a named dataset may be downloaded, into `data_dir` or the user's cache.

    Raises:
        DigestMismatch: when the images are not those of the stated or known digest.
        DatasetError: when they are missing, damaged or of another shape; the message says what to do.
    """
    arrays = _read(dataset, data_dir, fetch)
    found = tuple(arrays.images.shape[1:])
    if found != dataset.shape:
        raise DatasetError(f"{dataset.key} has images of shape {list(found)}, expected {list(dataset.shape)}")
    if dataset.classes not in (None, arrays.classes):
        raise DatasetError(f"{dataset.key} has {arrays.classes} classes, the search states {dataset.classes}")
    digest = arrays.digest
    if (expected := dataset.expected_digest) not in (None, digest):
        raise DigestMismatch(dataset.key, digest, str(expected))
    train, evaluation, test = _split(arrays, 4 / 5 if dataset.name == "cifar10" else 5 / 6)
    return LoadedDataset(dataset, train, evaluation, test, arrays.classes, arrays.scale, digest)


def available_datasets(data_dir: Path | None, fetch: bool) -> list[str]:
    """The keys of the datasets that a worker may announce: names, `folder:NAME` and `npz:NAME.npz`.

    Looks at names only; whether the files can be read shows when a trial needs them.
    """
    named = [
        name
        for name in KNOWN_DATASETS
        if name not in SOURCES or fetch or files_are_there(name, _named_folder(name, data_dir))
    ]
    if data_dir is None or not data_dir.is_dir():
        return named
    entries = sorted(
        entry for entry in data_dir.iterdir() if not entry.name.startswith(".") and is_below(data_dir, entry)
    )
    folders = [f"folder:{entry.name}" for entry in entries if entry.name not in SOURCES and _has_folders(entry)]
    return [*named, *folders, *(f"npz:{entry.name}" for entry in entries if entry.suffix == ".npz")]


def describe_dataset(key: str, data_dir: Path | None, fetch: bool = False) -> Dataset:
    """The facts of a dataset that the server needs, read from its files.

    Args:
        key: a known name, `folder:NAME` or `npz:NAME`.
        data_dir: as in `load_dataset`.
        fetch: as in `load_dataset`.

    Raises:
        DatasetError: when it cannot be read.
        pydantic.ValidationError: when the key is neither a known name nor such a path.
    """
    dataset = find_dataset(key, data_dir)
    if dataset.name is not None:
        return dataset
    loaded = load_dataset(dataset, data_dir, fetch)
    return Dataset(
        path=key,
        image_shape=dataset.shape,
        classes=loaded.classes or None,
        train_images=len(loaded.train.images),
        digest=loaded.digest,
    )


def find_dataset(key: str, data_dir: Path | None) -> Dataset:
    """A dataset with its image shape alone, from one look at its files; `load_dataset` checks the rest.

    Raises:
        DatasetError: when it is not there.
        pydantic.ValidationError: when the key is neither a known name nor a path.
    """
    if not key.startswith(("folder:", "npz:")):
        return Dataset(name=key)
    root = require_data_dir(data_dir, key)
    path = path_below(root, key.partition(":")[2])
    shape = folder_shape(_as_folder(path), root) if key.startswith("folder:") else npz_shape(path)
    return Dataset(path=key, image_shape=shape)


def _read(dataset: Dataset, data_dir: Path | None, fetch: bool) -> ImageArrays:
    if dataset.name is not None:
        return read_named(dataset.name, _named_folder(dataset.name, data_dir), fetch)
    kind, _, name = dataset.key.partition(":")
    root = require_data_dir(data_dir, dataset.key)
    path = path_below(root, name)
    return read_folder(_as_folder(path), root, dataset.shape) if kind == "folder" else read_npz(path, dataset.shape)


def _named_folder(name: str, data_dir: Path | None) -> Path:
    return (data_dir if data_dir is not None else Path(pooch.os_cache("hourglass-nas"))) / name


def _as_folder(path: Path) -> Path:
    if not path.is_dir():
        raise DatasetError(f"{path} is a file; folder: needs a folder with one folder a class")
    return path


def _has_folders(folder: Path) -> bool:
    return folder.is_dir() and (is_split(folder) or any(_holds_files(entry) for entry in folder.iterdir()))


def _holds_files(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_file() for entry in folder.iterdir())


def _split(arrays: ImageArrays, train_share: float) -> tuple[Split, Split, Split]:
    """Permute with RandomState(42), then cut: 60/20/20, or `train_share` and the rest where a test split is given.

    The published rule of MNIST is 5/6 (50,000 of 60,000); CIFAR-10 alone is cut at 4/5, so that eval has 10,000 too.
    """
    count = len(arrays.images)
    order = np.random.RandomState(SPLIT_SEED).permutation(count)
    if arrays.test_images is None or arrays.test_labels is None:
        parts = np.split(order, [int(0.6 * count), int(0.6 * count) + int(0.2 * count)])
        train, evaluation, test = (_as_split(arrays.images[part], arrays.labels[part]) for part in parts)
    else:
        parts = np.split(order, [round(train_share * count)])
        train, evaluation = (_as_split(arrays.images[part], arrays.labels[part]) for part in parts)
        test = _as_split(arrays.test_images, arrays.test_labels)
    if min(len(train.images), len(evaluation.images), len(test.images)) < 2:
        raise DatasetError(f"{count} images are too few to be split into train, eval and test; give at least 10")
    return train, evaluation, test


def _as_split(images: Images, labels: Labels) -> Split:
    return Split(torch.from_numpy(np.array(images)), torch.from_numpy(np.array(labels)))
