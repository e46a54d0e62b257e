"""Tasks and datasets by their facts: names, image shapes and digests, never the images.

The server needs nothing more of a dataset; the images are read by the workers (`workers.training.datasets`).
"""

from enum import StrEnum
from math import prod
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from nas_service.domain.architecture import TaskShape
from nas_service.domain.digests import DIGEST_PATTERN
from nas_service.domain.values import Value


class TaskKind(StrEnum):
    """What the network is asked to produce."""

    DENOISING = "denoising"  # the image, from the image plus Gaussian noise, clipped to [0, 1]
    SUPER_RESOLUTION = "super_resolution"  # the image, from its bicubic downsampling without antialiasing
    GENERATIVE_CLASSIFICATION = "generative_classification"  # the prototype image of the class, from an image


class Denoising(Value):
    """Remove Gaussian noise."""

    kind: Literal["denoising"]
    noise_std: float = Field(default=0.25, gt=0, le=10)  # of pixels in [0, 1]; drawn anew at every use


class SuperResolution(Value):
    """Restore the full resolution."""

    kind: Literal["super_resolution"]
    factor: int = Field(default=2, ge=2, le=16)  # height and width of the input are the image's divided by this


class GenerativeClassification(Value):
    """Draw the prototype of the image's class: the first image of that class in the permuted training split."""

    kind: Literal["generative_classification"]


Task = Annotated[Denoising | SuperResolution | GenerativeClassification, Field(discriminator="kind")]

ImageShape = tuple[
    Annotated[int, Field(ge=1, le=16)], Annotated[int, Field(ge=1, le=4096)], Annotated[int, Field(ge=1, le=4096)]
]  # channels, height, width


class KnownDataset(Value):
    """A dataset that every worker can read by its name."""

    image_shape: ImageShape
    classes: int
    train_images: int  # after the split into train and eval
    digest: str | None = None  # sha256 of the decoded images and labels, where it was measured


KNOWN_DATASETS: dict[str, KnownDataset] = {
    "digits": KnownDataset(
        image_shape=(1, 8, 8),
        classes=10,
        train_images=1078,
        digest="sha256:75d59d3c71bc54e2f7c91cb10032577b4c88057c7c832b5bd211bbd5a21ad27b",
    ),
    "mnist": KnownDataset(
        image_shape=(1, 28, 28),
        classes=10,
        train_images=50_000,
        digest="sha256:58d32ccb2455d7fadf3428fe9c557d8e5eb27d9db6288df88e4735bcf5745331",
    ),
    "fashion_mnist": KnownDataset(image_shape=(1, 28, 28), classes=10, train_images=50_000),
    "cifar10": KnownDataset(image_shape=(3, 32, 32), classes=10, train_images=40_000),
}


class Dataset(Value):
    """Which images: a known name, or a path that the workers can read with the facts that the server needs."""

    name: str | None = Field(default=None, max_length=100)  # one of KNOWN_DATASETS
    path: str | None = Field(default=None, max_length=500)  # folder:NAME or npz:NAME, below the workers' data directory
    image_shape: ImageShape | None = None  # channels, height, width
    classes: int | None = Field(default=None, ge=1, le=100_000)
    train_images: int | None = Field(default=None, ge=1, lt=2**31)  # in the training split
    digest: str | None = Field(default=None, pattern=DIGEST_PATTERN)

    @field_validator("name")
    @classmethod
    def _name_is_known(cls, name: str | None) -> str | None:
        if name is not None and name not in KNOWN_DATASETS:
            raise ValueError(
                f"no dataset is called {name!r}; expected one of {', '.join(KNOWN_DATASETS)}, "
                "or give your own images as `path: folder:NAME` or `path: npz:NAME`"
            )
        return name

    @field_validator("path")
    @classmethod
    def _path_names_its_kind(cls, path: str | None) -> str | None:
        if path is not None and (not path.startswith(("folder:", "npz:")) or path.endswith(":")):
            raise ValueError(f"a dataset path starts with folder: or npz: and a name follows (got {path!r})")
        return path

    @model_validator(mode="after")
    def _name_or_path(self) -> Self:
        if (self.name is None) == (self.path is None):
            raise ValueError("a dataset has either a name or a path, not both and not neither")
        if self.path is not None and self.image_shape is None:
            raise ValueError(
                "a dataset path needs image_shape: [channels, height, width]; "
                "`hourglass submit` fills it in where it can read the path itself"
            )
        if self.name is not None:
            self._check_stated(KNOWN_DATASETS[self.name])
        return self

    def _check_stated(self, known: KnownDataset) -> None:
        for field in ("image_shape", "classes", "train_images"):
            stated, true = getattr(self, field), getattr(known, field)
            if stated not in (None, true):
                stated, true = (list(value) if isinstance(value, tuple) else value for value in (stated, true))
                raise ValueError(f"{self.name} has {field} {true} (got {stated}); leave it out")

    @property
    def key(self) -> str:
        """The word by which workers announce it: the name or the path."""
        return self.name or self.path or ""

    @property
    def shape(self) -> ImageShape:
        """Channels, height and width of one image."""
        if self.image_shape is not None:
            return self.image_shape
        assert self.name is not None
        return KNOWN_DATASETS[self.name].image_shape

    @property
    def images_per_epoch(self) -> int | None:
        """Images in the training split; None when nobody said."""
        return self.train_images or (KNOWN_DATASETS[self.name].train_images if self.name else None)

    @property
    def expected_digest(self) -> str | None:
        """The digest that a worker must find, when one is known."""
        return self.digest or (KNOWN_DATASETS[self.name].digest if self.name else None)


def task_shape(task: Task, dataset: Dataset) -> TaskShape:
    """The widths of input and output for a task on a dataset.

    Raises:
        ValueError: when a super-resolution factor does not divide the image.
    """
    channels, height, width = dataset.shape
    full = prod(dataset.shape)
    if isinstance(task, SuperResolution):
        if height % task.factor or width % task.factor:
            raise ValueError(
                "a super_resolution factor must divide height and width "
                f"(got factor {task.factor}, image {height}x{width})"
            )
        return TaskShape(d_x=channels * (height // task.factor) * (width // task.factor), d_y=full)
    return TaskShape(d_x=full, d_y=full)
