"""One network: its family, sizes and projections, and when such a network is legal.

    z_0 = W_in x                                  x: (B, d_x)   z: (B, d_z)
    z_{i+1} = z_i + s W2_i act(W1_i norm(z_i))    W1: (d_h, d_z)   W2: (d_z, d_h)   i = 1..depth, s the branch scale
    y = sigmoid(W_out z_depth)                    y: (B, d_y)

Source: arXiv 2510.01796. Other wirings of the same blocks are rivals of this one: `Wiring`. What a network costs is in
`costs.py`; how it computes, in `workers.training.network`.
"""

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from nas_service.domain.values import Value


class IllegalArchitecture(ValueError):
    """The shape cannot be built; the message is one sentence with the numbers in it."""


class Family(StrEnum):
    """Where the residual block is narrow."""

    HOURGLASS = "hourglass"  # skips at wide ends, computes through a narrow bottleneck: d_h < d_z
    CONVENTIONAL = "conventional"  # skips at narrow ends, computes in a wide middle: d_h > d_z


class WIn(StrEnum):
    """How the input (d_x) reaches the skip width (d_z)."""

    LEARNED = "learned"  # a trained matrix from a random start
    IDENTITY_INIT = "identity_init"  # a trained matrix that starts as the zero-padded identity; d_z >= d_x
    FIXED_UNIFORM = "fixed_uniform"  # frozen U(-1/sqrt(d_x), 1/sqrt(d_x)): nn.Linear's default, the published one
    FIXED_GAUSSIAN = "fixed_gaussian"  # frozen N(0, 1/d_x)
    FIXED_ORTHOGONAL = "fixed_orthogonal"  # frozen, orthonormal columns (rows when d_z < d_x)
    FIXED_SPARSE = "fixed_sparse"  # frozen, ceil(sqrt(d_x)) entries of random sign in each row
    FIXED_IDENTITY_PADDED = "fixed_identity_padded"  # the input itself, then frozen Gaussian rows; d_z >= d_x
    IDENTITY = "identity"  # the input, padded with zeros; d_z >= d_x
    NONE = "none"  # the input itself; d_z = d_x

    @property
    def is_trained(self) -> bool:
        """Whether gradients reach it."""
        return self in (WIn.LEARNED, WIn.IDENTITY_INIT)

    @property
    def is_fixed_random(self) -> bool:
        """Whether it is drawn from a seed and never trained."""
        return self.value.startswith("fixed_")


class WOut(StrEnum):
    """How the skip width (d_z) becomes the output (d_y)."""

    LEARNED = "learned"  # a trained matrix
    TIED = "tied"  # W_in transposed; d_x = d_y and W_in a matrix
    NONE = "none"  # z itself; d_z = d_y


class Norm(StrEnum):
    """What is done to z before each block; none of them has trainable weights."""

    BATCH = "batch"  # BatchNorm without affine, the published one
    LAYER = "layer"
    RMS = "rms"
    NONE = "none"


class Activation(StrEnum):
    """The nonlinearity inside a block."""

    RELU = "relu"  # the published one
    GELU = "gelu"
    SILU = "silu"
    SWIGLU = "swiglu"  # silu(a) b of two inner maps, so a third more weights a block (arXiv 2002.05202)


class BranchScale(StrEnum):
    """The factor s on each residual branch."""

    ONE = "1"
    INVERSE_SQRT_DEPTH = "1/sqrt(depth)"  # arXiv 2309.16620


class Wiring(StrEnum):
    """How the blocks' branches f_i(z) = s W2_i act(W1_i norm(z)) are joined; all have the same weights."""

    RESIDUAL = "residual"  # z_{i+1} = z_i + f_i(z_i), the published one
    PARALLEL_SHALLOW = "parallel_shallow"  # z_0 + the sum of all f_i(z_0) (arXiv 2309.08414)
    # the very same maps in the same order, skips at the narrow ends: u_{i+1} = u_i + s W1_{i+1} norm(W2_i act(u_i))
    SKIP_NARROW = "skip_narrow"
    NO_SKIP = "no_skip"  # z_{i+1} = f_i(z_i)


class TaskShape(Value):
    """The widths that the task prescribes."""

    d_x: int = Field(ge=1)  # numbers in one input
    d_y: int = Field(ge=1)  # numbers in one output


class Architecture(Value):
    """One network of the formulas above. It knows no task; `check_fits` holds it against one."""

    family: Family
    d_z: int = Field(ge=1)  # skip width
    d_h: int = Field(ge=1)  # inner width, one for all blocks
    depth: int = Field(ge=1)  # number of residual blocks
    w_in: WIn = WIn.LEARNED
    w_out: WOut = WOut.LEARNED
    norm: Norm = Norm.BATCH
    activation: Activation = Activation.RELU
    branch_scale: BranchScale = BranchScale.ONE
    wiring: Wiring = Wiring.RESIDUAL

    @model_validator(mode="after")
    def _family_holds(self) -> Self:
        fault = family_fault(self.family, self.d_z, self.d_h) or wiring_fault(self.wiring, self.family)
        if fault is not None:
            raise IllegalArchitecture(fault)
        return self

    def check_fits(self, task: TaskShape) -> None:
        """Raise `IllegalArchitecture` unless this network can map `task.d_x` numbers to `task.d_y`."""
        if (fault := projection_fault(self.w_in, self.w_out, self.d_z, task)) is not None:
            raise IllegalArchitecture(fault)


def family_fault(family: Family, d_z: int, d_h: int) -> str | None:
    """Say why these widths are not of that family; None when they are."""
    if family is Family.HOURGLASS and d_h >= d_z:
        return f"d_h must be below d_z in an hourglass (got d_h={d_h}, d_z={d_z})"
    if family is Family.CONVENTIONAL and d_h <= d_z:
        return f"d_h must be above d_z in a conventional block (got d_h={d_h}, d_z={d_z})"
    return None


def wiring_fault(wiring: Wiring, family: Family) -> str | None:
    """Say why blocks of that family cannot be wired so; None when they can."""
    if wiring is Wiring.SKIP_NARROW and family is not Family.HOURGLASS:
        return f"wiring {wiring} is of an hourglass, whose narrow ends are d_h (got family {family})"
    return None


def projection_fault(w_in: WIn, w_out: WOut, d_z: int, task: TaskShape) -> str | None:
    """Say why these projections cannot join d_z to the task's widths; None when they can."""
    d_x, d_y = task.d_x, task.d_y
    if w_in in (WIn.IDENTITY_INIT, WIn.FIXED_IDENTITY_PADDED, WIn.IDENTITY) and d_z < d_x:
        return f"w_in {w_in} needs d_z of at least d_x (got d_z={d_z}, d_x={d_x})"
    if w_in is WIn.NONE and d_z != d_x:
        return f"w_in none needs d_z equal to d_x (got d_z={d_z}, d_x={d_x})"
    if w_out is WOut.TIED and d_x != d_y:
        return f"w_out tied needs d_x equal to d_y (got d_x={d_x}, d_y={d_y})"
    if w_out is WOut.TIED and not (w_in.is_trained or w_in.is_fixed_random):
        return f"w_out tied needs a w_in that is learned or fixed (got w_in {w_in})"
    if w_out is WOut.NONE and d_z != d_y:
        return f"w_out none needs d_z equal to d_y (got d_z={d_z}, d_y={d_y})"
    return None
