"""How blocks are joined to a stack, forwards and backwards: the residual one and its rivals (`Wiring`).

What is carried from block to block stays in float32: rounding it to bfloat16 would lose small branches.

R: replicates, B: batch, d_z: skip width, d_i: inner width; dz is the loss's gradient with respect to z.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, add

from nas_service.domain.architecture import Wiring
from workers.training.blocks import Block, KeptOfFirst, KeptOfSecond


class Kept(NamedTuple):
    """What a block needs to go backwards."""

    first: KeptOfFirst
    second: KeptOfSecond


def through(wiring: Wiring, blocks: Sequence[Block], z: Tensor, keep: list[Kept] | None = None) -> Tensor:
    """z_depth (R, B, d_z) of z_0 (R, B, d_z); what `back_through` needs is appended to `keep`."""
    match wiring:
        case Wiring.RESIDUAL:
            for block in blocks:
                z = add(z, _branch(block, z, keep), alpha=block.scale)  # (R, B, d_z)
            return z
        case Wiring.PARALLEL_SHALLOW:
            total = z
            for block in blocks:
                total = add(total, _branch(block, z, keep), alpha=block.scale)  # (R, B, d_z)
            return total
        case Wiring.SKIP_NARROW:
            return _through_narrow(blocks, z, keep)
        case Wiring.NO_SKIP:
            for block in blocks:
                z = _branch(block, z, keep).mul_(block.scale)  # (R, B, d_z)
            return z


def back_through(wiring: Wiring, blocks: Sequence[Block], dz: Tensor, kept: list[Kept]) -> Tensor:
    """The gradient of z_0 for that of z_depth, which may be overwritten; writes the weights' own, empties `kept`."""
    match wiring:
        case Wiring.RESIDUAL:
            for block in reversed(blocks):
                dz.add_(_branch_backward(block, _scaled(dz, block), kept.pop()))  # (R, B, d_z)
            return dz
        case Wiring.PARALLEL_SHALLOW:
            total = dz.clone()
            for block in reversed(blocks):
                total.add_(_branch_backward(block, _scaled(dz, block), kept.pop()))  # (R, B, d_z)
            return total
        case Wiring.SKIP_NARROW:
            return _back_through_narrow(blocks, dz, kept)
        case Wiring.NO_SKIP:
            for block in reversed(blocks):
                dz = _branch_backward(block, _scaled(dz, block), kept.pop())  # (R, B, d_z)
            return dz


def _branch(block: Block, z: Tensor, keep: list[Kept] | None) -> Tensor:
    inner, of_first = block.first(z)  # (R, B, d_i)
    branch, of_second = block.second(inner)  # (R, B, d_z)
    if keep is not None:
        keep.append(Kept(of_first, of_second))
    return branch


def _branch_backward(block: Block, d_branch: Tensor, kept: Kept) -> Tensor:
    return block.first_backward(block.second_backward(d_branch, kept.second), kept.first)


def _through_narrow(blocks: Sequence[Block], z: Tensor, keep: list[Kept] | None) -> Tensor:
    u: Tensor | None = None  # (R, B, d_i), carried
    for block in blocks:
        inner, of_first = block.first(z)  # (R, B, d_i)
        u = inner.float() if u is None else add(u, inner, alpha=block.scale)
        z, of_second = block.second(u.to(block.w2.dtype, copy=True))  # (R, B, d_z)
        if keep is not None:
            keep.append(Kept(of_first, of_second))
    return z


def _back_through_narrow(blocks: Sequence[Block], dz: Tensor, kept: list[Kept]) -> Tensor:
    du: Tensor | None = None  # (R, B, d_i)
    for number, block in reversed(list(enumerate(blocks))):
        of_first, of_second = kept.pop()
        d_inner = block.second_backward(dz, of_second).float()  # (R, B, d_i)
        du = d_inner if du is None else du.add_(d_inner)
        dz = block.first_backward(_scaled(du, block) if number > 0 else du, of_first)  # (R, B, d_z)
    return dz


def _scaled(gradient: Tensor, block: Block) -> Tensor:
    return gradient if block.scale == 1 else gradient * block.scale
