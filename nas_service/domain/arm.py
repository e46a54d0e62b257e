"""An arm: a named region of shapes that competes as one contestant (and is one Optuna study).

Ranges are inclusive. All costs grow with d_z, d_h and depth, so the corners of the region bound its costs.
"""

from bisect import bisect_left
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator, model_validator
from pydantic_core import PydanticCustomError

from nas_service.domain.architecture import (
    Activation,
    Architecture,
    BranchScale,
    Family,
    IllegalArchitecture,
    Norm,
    TaskShape,
    WIn,
    Wiring,
    WOut,
    family_fault,
    projection_fault,
    wiring_fault,
)
from nas_service.domain.values import Value

MAX_WIDTH = 1_000_000
MAX_DEPTH = 1_000


def _or_else(expected: str) -> WrapValidator:
    """Refuse with one sentence, where pydantic would say for every member of a union why it is not that one."""

    def check(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
        try:
            return validate(given)
        except ValidationError as error:
            raise PydanticCustomError("arm_range", "{expected}", {"expected": expected}) from error

    return WrapValidator(check)


Width = Annotated[int, Field(ge=1, le=MAX_WIDTH)]
Depth = Annotated[int, Field(ge=1, le=MAX_DEPTH)]
LearningRate = Annotated[float, Field(gt=0, le=10)]
Ratio = Annotated[float, Field(gt=0, le=1000)]
Widths = Annotated[
    Width | tuple[Width, Width], _or_else(f"must be a whole number from 1 to {MAX_WIDTH:,}, or [low, high] of such")
]
Depths = Annotated[
    Depth | tuple[Depth, Depth], _or_else(f"must be a whole number from 1 to {MAX_DEPTH:,}, or [low, high] of such")
]
Ratios = Annotated[
    Ratio | tuple[Ratio, Ratio], _or_else("must be a number above 0 and up to 1,000, or [low, high] of such")
]
LearningRates = Annotated[
    LearningRate | Annotated[tuple[LearningRate, ...], Field(min_length=2, max_length=20)],
    _or_else("must be a number above 0 and up to 10, [low, high] of such, or a list of 3 to 20 of such"),
]


class Arm(Value):
    """A region of architectures and learning rates."""

    family: Family
    w_in: WIn = WIn.LEARNED
    w_out: WOut = WOut.LEARNED
    norm: Norm = Norm.BATCH
    activation: Activation = Activation.RELU
    branch_scale: BranchScale = BranchScale.ONE
    wiring: Wiring = Wiring.RESIDUAL
    d_z: Widths  # skip width: a number or [low, high]
    d_h: Widths | None = None  # inner width: a number or [low, high]
    d_h_ratio: Ratios | None = None  # instead of d_h: d_h / d_z, a number or [low, high]
    depth: Depths  # number of blocks: a number or [low, high]
    # a number; two numbers are a range (a search dimension); three or more are all trained, the best mean counts
    lr: LearningRates

    @model_validator(mode="after")
    def _ranges_hold(self) -> Self:
        if (self.d_h is None) == (self.d_h_ratio is None):
            raise ValueError("an arm has either d_h or d_h_ratio, not both and not neither")
        if (fault := wiring_fault(self.wiring, self.family)) is not None:
            raise ValueError(fault)
        for name in ("d_z", "d_h", "d_h_ratio", "depth", "lr"):
            given = getattr(self, name)
            if isinstance(given, tuple) and len(given) == 2 and given[0] > given[1]:
                raise ValueError(f"{name} must be [low, high] with low <= high (got {list(given)})")
        if self.lr_values is not None and len(set(self.lr_values)) != len(self.lr_values):
            raise ValueError(f"the learning rates in a list must differ (got {list(self.lr_values)})")
        return self

    @property
    def d_z_range(self) -> tuple[int, int]:
        """Lowest and highest skip width."""
        return _as_range(self.d_z)

    @property
    def depth_range(self) -> tuple[int, int]:
        """Fewest and most blocks."""
        return _as_range(self.depth)

    @property
    def lr_range(self) -> tuple[float, float] | None:
        """Lowest and highest learning rate when it is searched; None when it is a list."""
        if isinstance(self.lr, tuple):
            return (self.lr[0], self.lr[1]) if len(self.lr) == 2 else None
        return (self.lr, self.lr)

    @property
    def lr_values(self) -> tuple[float, ...] | None:
        """The learning rates that every trial of this arm trains; None when it is searched or one number."""
        return self.lr if isinstance(self.lr, tuple) and len(self.lr) > 2 else None

    def fixed_or(self, lr: float | None) -> float | tuple[float, ...]:
        """The learning rate (or list) that the arm fixes, else `lr`.

        Raises:
            ValueError: when the arm searches it and none is given, or fixes another one.
        """
        fixed = self.lr_values or (None if isinstance(self.lr, tuple) else self.lr)
        if fixed is None:
            if lr is None:
                raise ValueError(f"this arm searches lr in {list(self.lr_range or ())}; say which one to train")
            return lr
        if lr not in (None, fixed):
            raise ValueError(f"this arm trains lr {fixed} (got {lr}); leave lr out")
        return fixed

    def d_h_range(self, d_z: int) -> tuple[int, int]:
        """Lowest and highest inner width beside that skip width, legal for the family; empty when low > high."""
        if self.d_h is not None:
            low, high = _as_range(self.d_h)
        else:
            assert self.d_h_ratio is not None
            low, high = (max(1, round(ratio * d_z)) for ratio in _as_range(self.d_h_ratio))
        if self.family is Family.HOURGLASS:
            return low, min(high, d_z - 1)
        return max(low, d_z + 1), high

    def faults_of(self, d_z: int, d_h: int, depth: int, lr: float) -> dict[str, str]:
        """What lies outside of this region: for each such field why. Learning rates are compared to 3 digits."""
        faults = {}
        if (fault := family_fault(self.family, d_z, d_h)) is not None:
            faults["d_h"] = fault
        ranges = {"d_z": self.d_z_range, "d_h": self.d_h_range(d_z), "depth": self.depth_range}
        for (name, (low, high)), value in zip(ranges.items(), (d_z, d_h, depth), strict=True):
            if not low <= value <= high:
                faults.setdefault(name, f"this arm has {name} in [{low}, {high}] (got {value})")
        rates = [float(f"{rate:.3g}") for rate in self.lr_values or self.lr_range or ()]
        rate = float(f"{lr:.3g}")
        if rate not in rates and (self.lr_values or not rates[0] <= rate <= rates[-1]):
            faults["lr"] = f"this arm has lr {self.lr if self.lr_values else rates} (got {lr:g})"
        return faults

    def legal_d_z_range(self, task: TaskShape) -> tuple[int, int]:
        """Lowest and highest skip width that the projections allow.

        Raises:
            IllegalArchitecture: when there is none; the message names the nearest width that was tried.
        """
        low, high = self.d_z_range
        candidates = [d_z for d_z in (low, high, task.d_x, task.d_y) if low <= d_z <= high]
        legal = [d_z for d_z in candidates if projection_fault(self.w_in, self.w_out, d_z, task) is None]
        if not legal:
            fault = projection_fault(self.w_in, self.w_out, high, task)
            raise IllegalArchitecture(f"no d_z in [{low}, {high}] is legal: {fault}")
        return min(legal), max(legal)

    def smallest(self, task: TaskShape) -> Architecture:
        """The cheapest legal architecture of the region.

        Raises:
            IllegalArchitecture: when the region holds none.
        """
        low, high = self.legal_d_z_range(task)
        if self.family is Family.HOURGLASS or self.d_h_ratio is not None:  # once there is room, there is beside wider
            low += min(bisect_left(range(low, high + 1), True, key=self._has_room), high - low)
        return self.architecture(low, self._inner_width(low, 0), self.depth_range[0])

    def largest(self, task: TaskShape) -> Architecture:
        """The most expensive legal architecture of the region.

        Raises:
            IllegalArchitecture: when the region holds none.
        """
        low, high = self.legal_d_z_range(task)
        if self.family is Family.CONVENTIONAL and self.d_h is not None:
            high = max(min(high, _as_range(self.d_h)[1] - 1), low)
        return self.architecture(high, self._inner_width(high, 1), self.depth_range[1])

    def architecture(self, d_z: int, d_h: int, depth: int) -> Architecture:
        """The architecture of this arm with these sizes.

        Raises:
            IllegalArchitecture: when the sizes are not of the arm's family.
        """
        if (fault := family_fault(self.family, d_z, d_h)) is not None:
            raise IllegalArchitecture(fault)
        return Architecture(
            family=self.family,
            d_z=d_z,
            d_h=d_h,
            depth=depth,
            w_in=self.w_in,
            w_out=self.w_out,
            norm=self.norm,
            activation=self.activation,
            branch_scale=self.branch_scale,
            wiring=self.wiring,
        )

    def _has_room(self, d_z: int) -> bool:
        low, high = self.d_h_range(d_z)
        return low <= high

    def _inner_width(self, d_z: int, end: int) -> int:
        low, high = self.d_h_range(d_z)
        if low > high:
            sign = "below" if self.family is Family.HOURGLASS else "above"
            given = f"d_h {self.d_h}" if self.d_h is not None else f"d_h_ratio {self.d_h_ratio}"
            raise IllegalArchitecture(f"{self.family} needs d_h {sign} d_z, and {given} leaves none beside d_z={d_z}")
        return (low, high)[end]


Number = TypeVar("Number", int, float)


def _as_range(given: Number | tuple[Number, Number]) -> tuple[Number, Number]:
    return given if isinstance(given, tuple) else (given, given)
