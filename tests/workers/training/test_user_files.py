import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nas_service.domain.tasks import ImageShape
from workers.training.data_paths import DatasetError
from workers.training.image_arrays import ImageArrays
from workers.training.user_files import folder_shape, npz_shape, read_folder, read_npz

Folder = Callable[..., Path]


def read(data_dir: Path, shape: ImageShape = (3, 4, 6)) -> ImageArrays:
    return read_folder(data_dir / "photos", data_dir, shape)


def test_a_folder_is_read_in_the_order_of_its_names(an_image_folder: Folder) -> None:
    data_dir = an_image_folder(classes=3, images=4)
    arrays = read(data_dir)
    assert arrays.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    second = np.asarray(Image.open(data_dir / "photos" / "class0" / "001.png")).transpose(2, 0, 1)
    assert np.array_equal(arrays.images[1], second)


def test_a_folder_may_bring_its_test_split(an_image_folder: Folder) -> None:
    an_image_folder("photos/train", classes=2, images=6)
    data_dir = an_image_folder("photos/test", classes=2, images=3)
    arrays = read(data_dir)
    assert arrays.test_images is not None
    assert (len(arrays.images), len(arrays.test_images), arrays.classes) == (12, 6, 2)


def test_a_class_unknown_to_training_is_refused(an_image_folder: Folder) -> None:
    an_image_folder("photos/train", classes=1)
    data_dir = an_image_folder("photos/test", classes=2)
    with pytest.raises(DatasetError, match=r"classes that .*train lacks: class1"):
        read(data_dir)


def test_colours_become_the_stated_channels(an_image_folder: Folder) -> None:
    data_dir = an_image_folder()
    assert read(data_dir, (1, 4, 6)).images.shape == (20, 1, 4, 6)
    assert read(data_dir, (4, 4, 6)).images[:, 3].min() == 255
    with pytest.raises(DatasetError, match="1, 3 or 4 channels"):
        read(data_dir, (2, 4, 6))


def test_an_image_of_another_size_is_named(an_image_folder: Folder) -> None:
    data_dir = an_image_folder()
    Image.new("RGB", (5, 5)).save(data_dir / "photos" / "class1" / "odd.png")
    with pytest.raises(DatasetError, match=r"odd\.png is 5x5, expected 4x6"):
        read(data_dir)


@pytest.mark.parametrize("keep", [10, 60])
def test_a_damaged_image_is_named(an_image_folder: Folder, keep: int) -> None:
    data_dir = an_image_folder()
    path = data_dir / "photos" / "class0" / "003.png"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DatasetError, match=r"003\.png .*replace or remove it"):
        read(data_dir)


def test_a_linked_image_outside_is_refused(an_image_folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> None:
    data_dir = an_image_folder()
    outside = tmp_path_factory.mktemp("outside") / "secret.png"
    Image.new("RGB", (6, 4)).save(outside)
    (data_dir / "photos" / "class0" / "link.png").symlink_to(outside)
    with pytest.raises(DatasetError, match=r"link\.png leads out of the data directory"):
        read(data_dir)


def test_a_folder_without_classes_or_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DatasetError, match="no class folders"):
        read(tmp_path)
    (tmp_path / "photos" / "cats").mkdir()
    (tmp_path / "photos" / "cats" / "notes.txt").write_text("no image")
    with pytest.raises(DatasetError, match="no images"):
        read(tmp_path)


def test_a_folder_knows_its_shape(an_image_folder: Folder, tmp_path: Path) -> None:
    assert folder_shape(an_image_folder("colour") / "colour", tmp_path) == (3, 4, 6)
    (tmp_path / "grey" / "cats").mkdir(parents=True)
    Image.new("L", (9, 7)).save(tmp_path / "grey" / "cats" / "1.png")
    assert folder_shape(tmp_path / "grey", tmp_path) == (1, 7, 9)


@pytest.mark.parametrize("axes", [(20, 3, 5, 6), (20, 5, 6, 3)])
def test_npz_channels_may_stand_first_or_last(tmp_path: Path, axes: tuple[int, ...]) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, images=np.zeros(axes, dtype=np.uint8), labels=np.arange(20) % 5)
    arrays = read_npz(path, npz_shape(path))
    assert (arrays.images.shape, arrays.classes) == ((20, 3, 5, 6), 5)


def test_npz_labels_may_be_missing(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", images=np.zeros((20, 4, 6), dtype=np.uint8))
    assert read_npz(tmp_path / "mine.npz", (1, 4, 6)).classes == 0


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros((5, 2, 2), np.uint8)}, "array called images"),
        ({"images": np.zeros((5, 2, 2), np.float32)}, "type float32"),
        ({"images": np.zeros((5, 2), np.uint8)}, r"shape \[5, 2\]"),
        ({"images": np.zeros((5, 2, 2), np.uint8), "labels": np.zeros(4, np.int64)}, "one whole number for each"),
        ({"images": np.zeros((5, 2, 2), np.uint8), "labels": np.full(5, -1)}, "labels from 0"),
        ({"images": np.array([{"a": 1}], dtype=object)}, "allow_pickle"),
    ],
)
def test_an_npz_file_of_other_content_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(DatasetError, match=message):
        read_npz(tmp_path / "mine.npz", (1, 2, 2))


def test_a_damaged_npz_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(b"not a zip")
    with pytest.raises(DatasetError, match=r"mine\.npz is no npz file"):
        read_npz(tmp_path / "mine.npz", (1, 2, 2))


# ---- files that mean harm


def an_npz(path: Path, header: bytes, body: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images.npy", header + body)
    return path


def npy_header(shape: tuple[int, ...], kind: str = "|u1") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def test_an_array_that_states_more_than_it_holds_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = an_npz(tmp_path / "mine.npz", npy_header((2**20, 2**10, 2**10)), bytes(100))
    for read in (npz_shape, lambda path: read_npz(path, (1, 2**10, 2**10))):
        with pytest.raises(DatasetError, match=r"states 1,099,511,627,904 bytes of images and holds"):
            read(path)


def test_a_zip_bomb_is_refused_by_what_it_would_become(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = an_npz(tmp_path / "mine.npz", npy_header((64, 2**10, 2**10)), bytes(64 * 2**20))
    assert path.stat().st_size < 2**20
    monkeypatch.setattr("os.sysconf", lambda name: 100 * 2**20 if name == "SC_PHYS_PAGES" else 1)
    with pytest.raises(DatasetError, match=r"more than half of this machine's 0\.1 GiB"):
        read_npz(path, (1, 2**10, 2**10))


@pytest.mark.parametrize("shape", [(-1, 2, 2), (2**63, 2**63, 4)])
def test_an_array_of_no_possible_shape_is_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DatasetError):
        read_npz(an_npz(tmp_path / "mine.npz", npy_header(shape), bytes(4)), (1, 2, 2))


def test_a_folder_larger_than_the_memory_is_refused_before_it_is_taken(
    an_image_folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = an_image_folder()
    monkeypatch.setattr("os.sysconf", lambda _: 10)
    with pytest.raises(DatasetError, match="more than half of this machine's"):
        read(data_dir)


def test_an_image_that_states_gigabytes_is_refused_before_it_is_decoded(an_image_folder: Folder) -> None:
    data_dir = an_image_folder()
    header = b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\x00\x00\x00"
    crc = zlib.crc32(header[12:]).to_bytes(4, "big")
    (data_dir / "photos" / "class1" / "bomb.png").write_bytes(header + crc)
    with pytest.raises(DatasetError, match=r"bomb\.png is (no image|60000x60000)"):
        read(data_dir)


@pytest.mark.parametrize("content", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 4\n", b"8BPS\x00\x01", b"<svg/>"])
def test_a_file_of_another_format_is_no_image_whatever_its_name(an_image_folder: Folder, content: bytes) -> None:
    data_dir = an_image_folder()
    (data_dir / "photos" / "class1" / "odd.png").write_bytes(content)
    with pytest.raises(DatasetError, match=r"odd\.png is no image"):
        read(data_dir)


def test_a_pipe_is_passed_over(an_image_folder: Folder) -> None:
    data_dir = an_image_folder(classes=2, images=3)
    os.mkfifo(data_dir / "photos" / "class1" / "pipe.png")
    assert len(read(data_dir).images) == 6
