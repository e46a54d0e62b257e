"""An arm's region as an Optuna search space, and back: which dimensions are searched, on which axis.

Parameters are named as in the arm: d_z, d_h or d_h_ratio, depth, lr. A dimension with a single value, and a list of
learning rates, are constants and not suggested.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

from nas_service.domain.arm import Arm
from nas_service.domain.trial import LearningRates

Params = dict[str, int | float]

LOG_FROM = 4  # a whole-number range whose ends differ by this factor is searched on a log axis


class Candidate(NamedTuple):
    """Sizes and learning rate, legal or not."""

    d_z: int
    d_h: int
    depth: int
    lr: LearningRates

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Candidate":
        """The candidate of which this is `_asdict()`, after a walk through JSON."""
        lr = row["lr"]
        return cls(row["d_z"], row["d_h"], row["depth"], tuple(lr) if isinstance(lr, list) else lr)


class Space:
    """The dimensions of one arm."""

    def __init__(self, arm: Arm) -> None:
        self.arm = arm
        self.distributions: dict[str, BaseDistribution] = {}
        self._add_whole("d_z", arm.d_z)
        self._add_whole("d_h", arm.d_h)
        self._add_real("d_h_ratio", arm.d_h_ratio)
        self._add_whole("depth", arm.depth)
        self._add_real("lr", arm.lr_range)
        self.constant_lr: LearningRates = arm.lr_values or _low(arm.lr)  # when it is not searched

    @property
    def lr_range(self) -> tuple[float, float] | None:
        """Lowest and highest learning rate when it is searched."""
        return self.arm.lr_range if "lr" in self.distributions else None

    def decode(self, params: Mapping[str, int | float]) -> Candidate:
        """The sizes and learning rate that these parameters mean, the arm's constants filled in."""
        d_z = int(params.get("d_z", self.arm.d_z_range[0]))
        depth = int(params.get("depth", self.arm.depth_range[0]))
        lr = three_digits(params["lr"]) if "lr" in params else self.constant_lr
        return Candidate(d_z, self._d_h(params, d_z), depth, lr)

    def encode(self, candidate: Candidate) -> Params:
        """The parameters nearest to the candidate: values outside of a range move to its end.

        Samplers assume that every value lies in its distribution, and a distribution of its own would take the
        parameter out of the space that all trials share.
        """
        given = candidate._asdict() | {"d_h_ratio": candidate.d_h / candidate.d_z}
        return {name: _clamped(given[name], distribution) for name, distribution in self.distributions.items()}

    def _d_h(self, params: Mapping[str, int | float], d_z: int) -> int:
        if self.arm.d_h is not None:
            return int(params.get("d_h", _low(self.arm.d_h)))
        assert self.arm.d_h_ratio is not None
        return max(1, round(params.get("d_h_ratio", _low(self.arm.d_h_ratio)) * d_z))

    def _add_whole(self, name: str, given: int | tuple[int, int] | None) -> None:
        if isinstance(given, tuple) and given[0] < given[1]:
            low, high = given
            self.distributions[name] = IntDistribution(low, high, log=high >= LOG_FROM * low)

    def _add_real(self, name: str, given: float | tuple[float, float] | None) -> None:
        if isinstance(given, tuple) and given[0] < given[1]:
            self.distributions[name] = FloatDistribution(*given, log=True)


def three_digits(lr: float) -> float:
    """The learning rate to 3 significant digits, as duplicates are counted."""
    return float(f"{lr:.3g}")


def _low(given: float | tuple[float, ...]) -> float:
    return given[0] if isinstance(given, tuple) else given


def _clamped(value: int | float, distribution: BaseDistribution) -> int | float:
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    return min(max(value, distribution.low), distribution.high)
