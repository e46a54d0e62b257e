"""A user's own images: a folder with one folder a class, or an npz file with an array of images.

Leaves out splits. N: images, C: channels, H, W: height and width.
"""

import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray
from PIL import Image

from nas_service.domain.tasks import ImageShape
from workers.training.data_paths import DatasetError, check_below, check_size
from workers.training.image_arrays import ImageArrays, Images, Labels

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")  # whatever the name says; EPS would run a program
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".pgm", ".ppm"})
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # channels -> Pillow's mode
GREY_MODES = frozenset({"1", "L", "I", "I;16", "F", "LA"})


def read_folder(folder: Path, data_dir: Path, shape: ImageShape) -> ImageArrays:
    """Read NAME/<class>/<image>, or NAME/train/<class>/<image> and NAME/test/<class>/<image>.

    Classes and images are taken in the order of their names; files that are no images are passed over.

    Raises:
        DatasetError: when a file is damaged or of another size, or the folder holds no classes.
    """
    if not is_split(folder):
        names = _class_names(folder)
        images, labels = _read_classes(folder, names, data_dir, shape)
        return ImageArrays(images, labels, len(names))
    names = _class_names(folder / "train")
    if unknown := set(_class_names(folder / "test")) - set(names):
        raise DatasetError(f"{folder / 'test'} has classes that {folder / 'train'} lacks: {', '.join(sorted(unknown))}")
    images, labels = _read_classes(folder / "train", names, data_dir, shape)
    test_images, test_labels = _read_classes(folder / "test", names, data_dir, shape)
    return ImageArrays(images, labels, len(names), test_images, test_labels)


def is_split(folder: Path) -> bool:
    """Whether a folder of images comes with a test split of its own."""
    return (folder / "train").is_dir() and (folder / "test").is_dir()


def folder_shape(folder: Path, data_dir: Path) -> ImageShape:
    """Channels, height and width of the folder's first image: 1 channel when it is grey, else 3.

    Raises:
        DatasetError: when there is no image or it cannot be read.
    """
    folder = folder / "train" if is_split(folder) else folder
    for name in _class_names(folder):
        for path in _image_paths(folder / name, data_dir):
            with _open(path) as image:
                return (1 if image.mode in GREY_MODES else 3, image.height, image.width)
    raise DatasetError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}) in its class folders")


def read_npz(path: Path, shape: ImageShape) -> ImageArrays:
    """Read `images`, uint8 (N, H, W), (N, C, H, W) or (N, H, W, C), and `labels`, integers (N,), where there are any.

    Raises:
        DatasetError: when the file is damaged, or an array is missing or of another shape or type.
    """
    images, labels = _npz_arrays(path)
    if images.ndim == 3:
        images = images[:, None]
    if images.shape[1:] != shape and (*images.shape[3:], *images.shape[1:3]) == shape:
        images = images.transpose(0, 3, 1, 2)
    if images.shape[1:] != shape:
        raise DatasetError(f"{path} has images of shape {list(images.shape[1:])}, expected image_shape {list(shape)}")
    images = np.ascontiguousarray(images)
    if labels is None:
        return ImageArrays(images, np.zeros(len(images), dtype=np.int64), 0)
    return ImageArrays(images, labels, int(labels.max()) + 1)


def npz_shape(path: Path) -> ImageShape:
    """Channels, height and width of the file's images; the last axis counts as channels when only it is 1, 3 or 4.

    Raises:
        DatasetError: when the file is damaged or holds no images.
    """
    with _npz(path) as archive:
        sizes = _header(path, archive, "images")[0][1:]
    if len(sizes) == 2:
        return (1, int(sizes[0]), int(sizes[1]))
    first, middle, last = (int(size) for size in sizes)
    return (last, first, middle) if last in MODES and first not in MODES else (first, middle, last)


def _class_names(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
    if not names:
        raise DatasetError(f"{folder} holds no class folders; expected {folder.name}/<class>/<image>")
    return names


def _image_paths(folder: Path, data_dir: Path) -> list[Path]:
    check_below(data_dir, folder)
    entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    named = [entry for entry in entries if Path(entry.name).suffix.lower() in SUFFIXES]
    images = [entry for entry in named if entry.is_file() or entry.is_symlink()]  # a pipe would never end
    for entry in images:
        if entry.is_symlink():
            check_below(data_dir, Path(entry.path))
    return [Path(entry.path) for entry in images]


def _read_classes(folder: Path, names: list[str], data_dir: Path, shape: ImageShape) -> tuple[Images, Labels]:
    paths = [(path, label) for label, name in enumerate(names) for path in _image_paths(folder / name, data_dir)]
    if not paths:
        raise DatasetError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))}) in its class folders")
    check_size(folder, len(paths) * prod(shape))
    images = np.empty((len(paths), *shape), dtype=np.uint8)
    for row, (path, _) in enumerate(paths):
        images[row] = _read_image(path, shape)
    return images, np.array([label for _, label in paths], dtype=np.int64)


def _open(path: Path) -> Image.Image:
    try:
        return Image.open(path, formats=FORMATS)  # reads the header only
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DatasetError(f"{path} is no image that can be read ({error}); replace or remove it") from error


def _read_image(path: Path, shape: ImageShape) -> Images:
    channels, height, width = shape
    if channels not in MODES:
        raise DatasetError(
            f"a folder of images has 1, 3 or 4 channels (image_shape says {channels}); store npz instead"
        )
    with _open(path) as image:
        if (image.height, image.width) != (height, width):  # before decoding: a header may promise gigabytes
            raise DatasetError(
                f"{path} is {image.height}x{image.width}, expected {height}x{width}; all images of a folder must have "
                "the size that image_shape states"
            )
        try:
            pixels = np.asarray(image.convert(MODES[channels]), dtype=np.uint8)
        except (OSError, ValueError, SyntaxError) as error:
            raise DatasetError(f"{path} cannot be decoded ({error}); replace or remove it") from error
    return pixels.reshape(height, width, channels).transpose(2, 0, 1)


def _npz_arrays(path: Path) -> tuple[NDArray[Any], Labels | None]:
    with _npz(path) as archive:
        names = [name for name in ("images", "labels") if f"{name}.npy" in archive.namelist() or name == "images"]
        check_size(path, sum(_bytes_of(*_header(path, archive, name)) for name in names))
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names}
    images, labels = arrays["images"], arrays.get("labels")
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or len(images) == 0:
        raise DatasetError(
            f"{path} has images of type {images.dtype} and shape {list(images.shape)}; expected uint8 of shape "
            "(N, H, W), (N, C, H, W) or (N, H, W, C)"
        )
    return images, None if labels is None else _checked_labels(path, labels, len(images))


@contextmanager
def _npz(path: Path) -> Iterator[zipfile.ZipFile]:
    """The open file; whatever is wrong with it is a DatasetError."""
    wrong = (OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, OverflowError, NotImplementedError)
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DatasetError:
        raise
    except (*wrong, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path} is no npz file with an array called images ({error})") from error


def _header(path: Path, archive: zipfile.ZipFile, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The shape and the type that an array states, without its values; they must be what the file holds."""
    entry = archive.getinfo(f"{name}.npy")
    with archive.open(entry) as file:
        version = npy.read_magic(file)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(file)
        stated = file.tell() + _bytes_of(shape, dtype)
    if dtype.hasobject:
        raise ValueError("objects are pickled, and allow_pickle is never set")
    if stated != entry.file_size:
        raise DatasetError(f"{path} states {stated:,} bytes of {name} and holds {entry.file_size:,}; write it again")
    return shape, dtype


def _bytes_of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return prod(shape) * dtype.itemsize


def _checked_labels(path: Path, labels: NDArray[Any], count: int) -> Labels:
    if labels.shape != (count,) or labels.dtype.kind not in "iu" or labels.min() < 0:
        raise DatasetError(f"{path} must have labels from 0, one whole number for each of its {count} images")
    return labels.astype(np.int64)
