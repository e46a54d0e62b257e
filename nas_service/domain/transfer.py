"""The rule `lr_transfer: width_depth`: how the learning rate of each weight follows the shape. Pure numbers.

    weight          lr factor                                        fan-in
    W_in            1                                                d_x, the task's: the same for every shape
    W1              BASE_D_Z / d_z * sqrt(BASE_DEPTH / depth)        d_z
    W2              BASE_D_H / d_h * sqrt(BASE_DEPTH / depth)        d_h
    W_out           BASE_D_Z / d_z                                   d_z
    W_in, tied      as W_out

Width is muP for Adam (Yang et al., arXiv 2203.03466, table 3): Adam moves every entry by about lr, all in line with
what the weight multiplies, so a product moves by lr x fan-in. Depth is depth-muP for Adam (Yang et al., arXiv
2310.02244; Bordelon et al., arXiv 2309.16620): the moves of all blocks are in line, too, and each is scaled by
1/sqrt(depth), so they add up to lr x sqrt(depth). A tied W_in moves the output as W_out does, and nothing in the
network divides that by d_z: its factor is the one that keeps a wide network stable.

Weight decay follows the base rate: AdamW shrinks a weight by lr x weight_decay a step, and 1 / (lr x weight_decay) is
the number of steps that a weight remembers, which should not change with its fan-in (Wang and Aitchison, arXiv
2405.13698). So the trainer divides the decay by the factor of the rate.

Leaves out what would make it another network: initial weights stay PyTorch's default, where muP draws W_out smaller by
sqrt(d_z). For blocks of more than one matrix, as these are, arXiv 2310.02244 promises no exact transfer in depth.
"""

from collections.abc import Mapping
from enum import StrEnum
from math import sqrt

from nas_service.domain.architecture import Architecture, BranchScale, WOut

BASE_D_Z, BASE_D_H, BASE_DEPTH = 1024, 128, 4  # the shape at which every weight trains with the trial's own rate


class LrTransfer(StrEnum):
    """How the trial's learning rate becomes that of a weight."""

    NONE = "none"  # it is that of every weight
    WIDTH_DEPTH = "width_depth"  # times a factor of its shape; needs the branch scale 1/sqrt(depth)


def transfer_fault(rule: LrTransfer, branch_scale: BranchScale) -> str | None:
    """Say why the rule cannot be followed with that branch scale; None when it can."""
    if rule is LrTransfer.NONE or branch_scale is BranchScale.INVERSE_SQRT_DEPTH:
        return None
    return f"lr_transfer {rule} needs branch_scale {BranchScale.INVERSE_SQRT_DEPTH} (got {branch_scale})"


def lr_factors(rule: LrTransfer, architecture: Architecture) -> Mapping[str, float] | None:
    """The factor on the learning rate of w_in, w_out and of every block's w1 and w2; None where there are none.

    Raises:
        ValueError: when the architecture's branch scale is not the rule's.
    """
    if (fault := transfer_fault(rule, architecture.branch_scale)) is not None:
        raise ValueError(fault)
    if rule is LrTransfer.NONE:
        return None
    by_depth, by_width = sqrt(BASE_DEPTH / architecture.depth), BASE_D_Z / architecture.d_z
    return {
        "w_in": by_width if architecture.w_out is WOut.TIED else 1.0,
        "w1": by_width * by_depth,
        "w2": BASE_D_H / architecture.d_h * by_depth,
        "w_out": by_width,
    }
