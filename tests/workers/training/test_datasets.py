from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from nas_service.domain.tasks import KNOWN_DATASETS, Dataset
from workers.training.datasets import (
    DatasetError,
    DigestMismatch,
    LoadedDataset,
    available_datasets,
    describe_dataset,
    load_dataset,
)

Folder = Callable[..., Path]


def test_digits_are_split_60_20_20_by_the_published_permutation(digits: LoadedDataset) -> None:
    assert [len(split.images) for split in (digits.train, digits.eval, digits.test)] == [1078, 359, 360]
    assert digits.train.images.shape[1:] == (1, 8, 8)
    assert digits.train.images.dtype == torch.uint8
    assert (digits.scale, digits.classes, int(digits.train.images.max())) == (16, 10, 16)


def test_digits_have_the_known_digest(digits: LoadedDataset) -> None:
    assert digits.digest == KNOWN_DATASETS["digits"].digest


def test_mnist_is_split_as_published(mnist: LoadedDataset) -> None:
    assert [len(split.images) for split in (mnist.train, mnist.eval, mnist.test)] == [50_000, 10_000, 10_000]
    assert mnist.digest == KNOWN_DATASETS["mnist"].digest


def test_the_split_follows_the_permutation_of_seed_42(tmp_path: Path) -> None:
    images = np.arange(60, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), dtype=np.uint8)
    np.savez(tmp_path / "numbers.npz", images=images, labels=np.arange(60))
    loaded = load_dataset(Dataset(path="npz:numbers.npz", image_shape=(1, 2, 2)), tmp_path, fetch=False)
    order = np.random.RandomState(42).permutation(60).tolist()
    splits = (loaded.train, loaded.eval, loaded.test)
    assert [split.labels.tolist() for split in splits] == [order[:36], order[36:48], order[48:]]
    assert loaded.train.images[:, 0, 0, 0].tolist() == order[:36]


def test_other_images_than_the_search_was_made_for_are_refused() -> None:
    with pytest.raises(DigestMismatch, match=r"digits has digest sha256:75.*, expected sha256:00") as caught:
        load_dataset(Dataset(name="digits", digest="sha256:" + "0" * 64), None, fetch=False)
    assert caught.value.found == KNOWN_DATASETS["digits"].digest


def test_a_wrong_image_shape_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=np.zeros((10, 4, 5), dtype=np.uint8))
    with pytest.raises(DatasetError, match=r"a\.npz has images of shape \[1, 4, 5\], expected image_shape \[1, 5, 4\]"):
        load_dataset(Dataset(path="npz:a.npz", image_shape=(1, 5, 4)), tmp_path, fetch=False)


def test_a_wrong_number_of_classes_is_refused(an_image_folder: Folder) -> None:
    dataset = Dataset(path="folder:photos", image_shape=(3, 4, 6), classes=7)
    with pytest.raises(DatasetError, match="has 2 classes, the search states 7"):
        load_dataset(dataset, an_image_folder(), fetch=False)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "few.npz", images=np.zeros((4, 2, 2), dtype=np.uint8))
    with pytest.raises(DatasetError, match="4 images are too few"):
        load_dataset(Dataset(path="npz:few.npz", image_shape=(1, 2, 2)), tmp_path, fetch=False)


@pytest.mark.parametrize("name", ["../secret.npz", "/etc/secret.npz", "a/../../secret.npz"])
def test_a_path_cannot_leave_the_data_directory(tmp_path: Path, name: str) -> None:
    np.savez(tmp_path / "secret.npz", images=np.zeros((10, 2, 2), dtype=np.uint8))
    (tmp_path / "data").mkdir()
    with pytest.raises(DatasetError, match="must stay below the data directory"):
        load_dataset(Dataset(path=f"npz:{name}", image_shape=(1, 2, 2)), tmp_path / "data", fetch=False)


@pytest.mark.parametrize(
    "path", ["npz:http://127.0.0.1/mine.npz", "npz:file:///etc/passwd", "folder:s3://bucket", "npz:%2e%2e/secret.npz"]
)
def test_a_url_is_only_a_name_that_is_not_there(tmp_path: Path, path: str) -> None:
    with pytest.raises(DatasetError, match=r"there is no '.*' in the data directory"):
        load_dataset(Dataset(path=path, image_shape=(1, 2, 2)), tmp_path, fetch=False)


def test_a_link_cannot_lead_out_of_the_data_directory(tmp_path: Path) -> None:
    np.savez(tmp_path / "secret.npz", images=np.zeros((10, 2, 2), dtype=np.uint8))
    data_dir = tmp_path / "data"
    data_dir.mkdir()
    (data_dir / "link.npz").symlink_to(tmp_path / "secret.npz")
    with pytest.raises(DatasetError, match="leads out of the data directory"):
        load_dataset(Dataset(path="npz:link.npz", image_shape=(1, 2, 2)), data_dir, fetch=False)
    assert "npz:link.npz" not in available_datasets(data_dir, fetch=False)


def test_a_missing_dataset_says_where_it_should_be(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="there is no 'nothing' in the data directory"):
        load_dataset(Dataset(path="folder:nothing", image_shape=(1, 2, 2)), tmp_path, fetch=False)
    with pytest.raises(DatasetError, match="HOURGLASS_DATA_DIR"):
        load_dataset(Dataset(path="folder:nothing", image_shape=(1, 2, 2)), None, fetch=False)


def test_a_worker_announces_what_it_can_read(
    an_image_folder: Folder, an_idx_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    an_image_folder("photos")
    an_idx_folder("mnist")
    np.savez(tmp_path / "mine.npz", images=np.zeros((10, 2, 2), dtype=np.uint8))
    assert available_datasets(tmp_path, fetch=False) == ["digits", "mnist", "folder:photos", "npz:mine.npz"]
    assert available_datasets(tmp_path, fetch=True)[:4] == list(KNOWN_DATASETS)
    monkeypatch.setattr("pooch.os_cache", lambda _: tmp_path / "empty")
    assert available_datasets(None, fetch=False) == ["digits"]


def test_a_users_images_describe_themselves(an_image_folder: Folder) -> None:
    data_dir = an_image_folder(images=20)
    dataset = describe_dataset("folder:photos", data_dir)
    assert (dataset.image_shape, dataset.classes, dataset.train_images) == ((3, 4, 6), 2, 24)
    assert load_dataset(dataset, data_dir, fetch=False).digest == dataset.digest


def test_a_known_name_describes_itself() -> None:
    assert describe_dataset("mnist", None) == Dataset(name="mnist")
