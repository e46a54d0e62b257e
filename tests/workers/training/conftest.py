"""Builders for the training tests: small real data (scikit-learn's digits), small networks, small files."""

import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas_service.domain.architecture import Architecture
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Dataset, Denoising
from workers.training.datasets import LoadedDataset, load_dataset


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def digits() -> LoadedDataset:
    return load_dataset(Dataset(name="digits"), None, fetch=False)


@pytest.fixture(scope="session")
def mnist() -> LoadedDataset:
    if not (folder := os.environ.get("HOURGLASS_DATA_DIR")):
        pytest.skip("HOURGLASS_DATA_DIR is not set: MNIST is not here")
    return load_dataset(Dataset(name="mnist"), Path(folder), fetch=False)


@pytest.fixture(scope="session")
def an_architecture() -> Callable[..., Architecture]:
    def build(**changes: Any) -> Architecture:
        return Architecture.model_validate({"family": "hourglass", "d_z": 80, "d_h": 32, "depth": 2, **changes})

    return build


@pytest.fixture(scope="session")
def a_recipe() -> Callable[..., Recipe]:
    def build(**changes: Any) -> Recipe:
        return Recipe.model_validate({"epochs": 2, "batch_size": 128, **changes})

    return build


@pytest.fixture(scope="session")
def denoising() -> Denoising:
    return Denoising(kind="denoising")


@pytest.fixture
def an_idx_folder(tmp_path: Path) -> Callable[..., Path]:
    """MNIST's four files with a few random images, gzipped where asked."""

    def build(name: str = "mnist", images: int = 60, side: int = 28, zipped: bool = True) -> Path:
        random = np.random.RandomState(0)
        for part, count in (("train", images), ("t10k", 10)):
            pixels = random.randint(0, 256, (count, side, side)).astype(np.uint8)
            labels = (np.arange(count) % 10).astype(np.uint8)
            for file, array in ((f"{part}-images-idx3-ubyte", pixels), (f"{part}-labels-idx1-ubyte", labels)):
                content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
                path = tmp_path / name / (file + ".gz" if zipped else file)
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(gzip.compress(content) if zipped else content)
        return tmp_path

    return build


@pytest.fixture
def an_image_folder(tmp_path: Path) -> Callable[..., Path]:
    """NAME/<class>/<number>.png with colours that differ, returned as the data directory."""

    def build(name: str = "photos", classes: int = 2, images: int = 10, size: tuple[int, int] = (6, 4)) -> Path:
        random = np.random.RandomState(1)
        for label in range(classes):
            folder = tmp_path / name / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(images):
                pixels = random.randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / f"{number:03}.png")
        return tmp_path

    return build


@pytest.fixture
def global_randomness_untouched() -> Iterator[None]:
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state())
