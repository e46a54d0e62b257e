from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from nas_service.domain.architecture import TaskShape
from nas_service.domain.tasks import KNOWN_DATASETS, Dataset, Task, task_shape

DIGEST = f"sha256:{64 * 'a'}"


def a_task(**fields: Any) -> Any:
    return TypeAdapter(Task).validate_python(fields)


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        ({"kind": "denoising"}, TaskShape(d_x=784, d_y=784)),
        ({"kind": "generative_classification"}, TaskShape(d_x=784, d_y=784)),
        ({"kind": "super_resolution"}, TaskShape(d_x=196, d_y=784)),
        ({"kind": "super_resolution", "factor": 7}, TaskShape(d_x=16, d_y=784)),
    ],
)
def test_a_task_prescribes_the_widths(task: dict[str, Any], shape: TaskShape) -> None:
    assert task_shape(a_task(**task), Dataset(name="mnist")) == shape


def test_super_resolution_keeps_the_channels() -> None:
    shape = task_shape(a_task(kind="super_resolution", factor=4), Dataset(name="cifar10"))
    assert shape == TaskShape(d_x=3 * 8 * 8, d_y=3 * 32 * 32)


@pytest.mark.parametrize("image_shape", [(1, 28, 27), (1, 27, 28)])
def test_a_factor_must_divide_height_and_width(image_shape: tuple[int, int, int]) -> None:
    odd = Dataset(path="folder:photos", image_shape=image_shape)
    with pytest.raises(ValueError, match=f"got factor 2, image {image_shape[1]}x{image_shape[2]}"):
        task_shape(a_task(kind="super_resolution"), odd)


@pytest.mark.parametrize(
    "task",
    [
        {"kind": "denoising", "noise_std": 0},
        {"kind": "denoising", "factor": 2},
        {"kind": "super_resolution", "factor": 1},
        {"kind": "super_resolution", "factor": 2.5},
        {"kind": "colouring"},
    ],
)
def test_a_task_has_only_its_own_fields_in_their_ranges(task: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        a_task(**task)


@pytest.mark.parametrize("name", KNOWN_DATASETS)
def test_a_known_dataset_needs_its_name_only(name: str) -> None:
    dataset = Dataset(name=name)
    assert (dataset.key, dataset.shape) == (name, KNOWN_DATASETS[name].image_shape)
    assert dataset.images_per_epoch == KNOWN_DATASETS[name].train_images
    assert dataset.expected_digest == KNOWN_DATASETS[name].digest


def test_a_path_brings_its_facts_along() -> None:
    dataset = Dataset(path="npz:stars", image_shape=(3, 32, 16), train_images=77, digest=DIGEST)
    assert (dataset.key, dataset.shape, dataset.images_per_epoch) == ("npz:stars", (3, 32, 16), 77)
    assert dataset.expected_digest == DIGEST
    assert Dataset(path="npz:stars", image_shape=(3, 32, 16)).images_per_epoch is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either a name or a path"),
        ({"name": "mnist", "path": "folder:x"}, "either a name or a path"),
        ({"name": "imagenet"}, "no dataset is called 'imagenet'; expected one of digits, mnist"),
        ({"path": "/home/me/photos", "image_shape": [1, 8, 8]}, "starts with folder: or npz:"),
        ({"path": "folder:", "image_shape": [1, 8, 8]}, "starts with folder: or npz:"),
        ({"path": "folder:photos"}, "needs image_shape"),
        ({"name": "mnist", "image_shape": [3, 28, 28]}, r"mnist has image_shape \[1, 28, 28\] \(got \[3, 28, 28\]\)"),
        ({"path": "folder:photos", "image_shape": [0, 8, 8]}, "greater than or equal to 1"),
        ({"name": "mnist", "digest": "md5:0"}, "digest"),
    ],
)
def test_a_faulty_dataset_is_refused_and_the_reason_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Dataset.model_validate(fields)


@pytest.mark.parametrize("facts", [{"image_shape": (1, 9, 9)}, {"classes": 3}, {"train_images": 5}])
def test_what_is_stated_of_a_known_dataset_must_be_true(facts: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="leave it out"):
        Dataset.model_validate({"name": "digits", **facts})
    Dataset(name="digits", image_shape=(1, 8, 8), classes=10, train_images=1078)
