"""The objectives a search may have: each a number with a direction, a unit and a default reference.

A *known cost* is computable before training, from the architecture and the recipe. A *measured cost* is what a worker's
device took: time and memory. A *quality* is measured on the evaluation split.
"""

from typing import Literal, NamedTuple

from pydantic import Field, field_validator

from nas_service.domain.values import Value

Direction = Literal["minimize", "maximize"]
Source = Literal["known", "device", "split"]  # a known cost, a measured cost, a quality


class ObjectiveKind(NamedTuple):
    """What every objective of one name has in common."""

    direction: Direction
    unit: str
    source: Source  # where its value comes from
    tasks: tuple[str, ...] | None = None  # task kinds that measure it; None means all


OBJECTIVE_KINDS: dict[str, ObjectiveKind] = {
    "parameters_trainable": ObjectiveKind("minimize", "weights", "known"),
    "parameters_stored": ObjectiveKind("minimize", "weights", "known"),
    "parameters_in_memory": ObjectiveKind("minimize", "weights", "known"),
    "macs": ObjectiveKind("minimize", "multiply-adds per example", "known"),
    "bytes_stored": ObjectiveKind("minimize", "bytes", "known"),
    "train_flops": ObjectiveKind("minimize", "FLOPs", "known"),
    "latency_ms": ObjectiveKind("minimize", "ms", "device"),
    "latency_batch256_ms": ObjectiveKind("minimize", "ms", "device"),
    "peak_memory_bytes": ObjectiveKind("minimize", "bytes", "device"),
    "train_seconds": ObjectiveKind("minimize", "s", "device"),
    "psnr_db": ObjectiveKind("maximize", "dB", "split"),
    "ssim": ObjectiveKind("maximize", "1", "split"),
    "mse": ObjectiveKind("minimize", "1", "split"),
    "accuracy": ObjectiveKind("maximize", "1", "split", tasks=("generative_classification",)),
}
MEASURED_COSTS = tuple(name for name, kind in OBJECTIVE_KINDS.items() if kind.source == "device")
QUALITIES = tuple(name for name, kind in OBJECTIVE_KINDS.items() if kind.source == "split")


class Objective(Value):
    """One axis of the fronts."""

    name: str = Field(max_length=100)
    scale: Literal["linear", "log"] = "linear"  # log: hypervolume and plots take log10 of it
    reference: float | None = None  # the worst value that counts; default: see `Search.known_reference`

    @field_validator("name")
    @classmethod
    def _name_is_known(cls, name: str) -> str:
        if name not in OBJECTIVE_KINDS:
            raise ValueError(f"no objective is called {name!r}; expected one of {', '.join(OBJECTIVE_KINDS)}")
        return name

    @property
    def direction(self) -> Direction:
        """Whether less or more of it is better."""
        return OBJECTIVE_KINDS[self.name].direction

    @property
    def unit(self) -> str:
        """The unit its values are in."""
        return OBJECTIVE_KINDS[self.name].unit

    @property
    def is_known(self) -> bool:
        """Whether it follows from the architecture and the recipe, before training."""
        return OBJECTIVE_KINDS[self.name].source == "known"

    @property
    def is_measured_cost(self) -> bool:
        """Whether it is time or memory that a worker's device took."""
        return OBJECTIVE_KINDS[self.name].source == "device"

    @property
    def is_quality(self) -> bool:
        """Whether it is measured on the evaluation split."""
        return OBJECTIVE_KINDS[self.name].source == "split"

    @property
    def path(self) -> str:
        """Where a trial keeps its value."""
        groups = {"known": "costs", "device": "metrics.measured", "split": "metrics.eval"}
        return f"{groups[OBJECTIVE_KINDS[self.name].source]}.{self.name}"
