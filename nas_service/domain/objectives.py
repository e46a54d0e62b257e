"""The objectives a search may have: each a number with a direction, a unit and a default reference.

A *known* objective is computable from the architecture alone; the others are measured on the evaluation split.
"""

from typing import Literal, NamedTuple

from pydantic import field_validator

from nas_service.domain.values import Value

Direction = Literal["minimize", "maximize"]


class ObjectiveKind(NamedTuple):
    """What every objective of one name has in common."""

    direction: Direction
    unit: str
    is_known: bool  # computable from the architecture alone
    tasks: tuple[str, ...] | None = None  # task kinds that measure it; None means all


OBJECTIVE_KINDS: dict[str, ObjectiveKind] = {
    "parameters_trainable": ObjectiveKind("minimize", "weights", True),
    "parameters_stored": ObjectiveKind("minimize", "weights", True),
    "parameters_in_memory": ObjectiveKind("minimize", "weights", True),
    "macs": ObjectiveKind("minimize", "multiply-adds per example", True),
    "bytes_stored": ObjectiveKind("minimize", "bytes", True),
    "psnr_db": ObjectiveKind("maximize", "dB", False),
    "ssim": ObjectiveKind("maximize", "1", False),
    "mse": ObjectiveKind("minimize", "1", False),
    "accuracy": ObjectiveKind("maximize", "1", False, tasks=("generative_classification",)),
}


class Objective(Value):
    """One axis of the fronts."""

    name: str
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
        """Whether it follows from the architecture alone."""
        return OBJECTIVE_KINDS[self.name].is_known
