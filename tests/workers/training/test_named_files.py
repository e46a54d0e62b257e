import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from workers.training.data_paths import DatasetError
from workers.training.named_files import read_named

Folder = Callable[..., Path]


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_idx_files_are_read_zipped_or_not(an_idx_folder: Folder, name: str, zipped: bool) -> None:
    arrays = read_named(name, an_idx_folder(name, zipped=zipped) / name, fetch=False)
    assert arrays.images.shape == (60, 1, 28, 28)
    assert arrays.test_images is not None
    assert arrays.test_images.shape == (10, 1, 28, 28)
    assert arrays.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]


def test_zipped_and_plain_files_have_one_digest(an_idx_folder: Folder) -> None:
    zipped = read_named("mnist", an_idx_folder("mnist", zipped=True) / "mnist", fetch=False)
    plain = read_named("fashion_mnist", an_idx_folder("fashion_mnist", zipped=False) / "fashion_mnist", fetch=False)
    assert zipped.digest == plain.digest


def test_a_missing_file_is_named_with_what_to_do(an_idx_folder: Folder) -> None:
    folder = an_idx_folder() / "mnist"
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        DatasetError, match=r"lacks .*t10k-labels-idx1-ubyte\.gz; put the files of https://.* into .*mnist"
    ):
        read_named("mnist", folder, fetch=False)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_cut_short_is_named(an_idx_folder: Folder, zipped: bool) -> None:
    folder = an_idx_folder(zipped=zipped) / "mnist"
    (path,) = folder.glob("train-images*")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=f"{path.name} .*fetch it again"):
        read_named("mnist", folder, fetch=False)


def test_images_without_their_labels_are_refused(an_idx_folder: Folder) -> None:
    folder = an_idx_folder(zipped=False) / "mnist"
    (folder / "train-labels-idx1-ubyte").write_bytes((folder / "t10k-labels-idx1-ubyte").read_bytes())
    with pytest.raises(DatasetError, match=r"60 images, .* 10 labels"):
        read_named("mnist", folder, fetch=False)


def test_a_failed_fetch_says_how_to_place_the_files_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: object, **__: object) -> str:
        raise ConnectionError("no route to host")

    monkeypatch.setattr("pooch.retrieve", offline)
    with pytest.raises(DatasetError, match=r"could not be fetched from .*no route to host.*put the files of .* into"):
        read_named("fashion_mnist", tmp_path / "fashion_mnist", fetch=True)


def test_a_missing_file_is_fetched_into_its_folder(an_idx_folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = an_idx_folder() / "mnist"
    lost = folder / "train-labels-idx1-ubyte.gz"
    content = lost.read_bytes()
    lost.unlink()
    asked = []

    def retrieve(url: str, known_hash: str, fname: str, path: Path) -> str:
        asked.append((url, known_hash))
        (path / fname).write_bytes(content)
        return str(path / fname)

    monkeypatch.setattr("pooch.retrieve", retrieve)
    assert len(read_named("mnist", folder, fetch=True).labels) == 60
    expected = "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz"
    assert asked == [(expected, "md5:d53e105ee54ea40749a09fcbcd1e9432")]


def _cifar_tar(path: Path, per_batch: int = 2) -> None:
    random = np.random.RandomState(0)
    with tarfile.open(path, "w:gz") as archive:
        for name in [*(f"data_batch_{batch}.bin" for batch in range(1, 6)), "test_batch.bin"]:
            records = random.randint(0, 256, (per_batch, 3073)).astype(np.uint8)
            records[:, 0] = 7
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            info.size = records.size
            archive.addfile(info, io.BytesIO(records.tobytes()))


def test_cifar10_is_read_from_its_binary_tar(tmp_path: Path) -> None:
    _cifar_tar(tmp_path / "cifar-10-binary.tar.gz")
    arrays = read_named("cifar10", tmp_path, fetch=False)
    assert arrays.images.shape == (10, 3, 32, 32)
    assert set(arrays.labels) == {7}


def test_a_damaged_cifar10_is_named(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"not a tar")
    with pytest.raises(DatasetError, match=r"cifar-10-binary\.tar\.gz cannot be read"):
        read_named("cifar10", tmp_path, fetch=False)
