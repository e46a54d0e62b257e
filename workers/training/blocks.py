"""The residual block z + s W2 act(W1 norm(z)); an hourglass where d_h < d_z, a conventional one where d_h > d_z.

Norms have no weights and linear maps no biases, so that W1 and W2 are all that is trained. R replicates are computed at
once, each with weights and statistics of its own. Gradients are written out by hand: autograd would allocate each
anew at every step and cast more often. z stays in float32; weights may be bfloat16, and what they multiply is then
rounded to it. Leaves out the norms (`norms.py`) and the projections (`network.py`).

R: replicates, B: batch, d_z: skip width, d_h: inner width; dx is the loss's gradient with respect to x.
"""

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_service.domain.architecture import Activation, Architecture, BranchScale
from workers.training.norms import make_norm

aten = torch.ops.aten


def linear_weight(d_in: int, d_out: int, generators: Sequence[torch.Generator]) -> nn.Parameter:
    """A weight (R, d_out, d_in) from `nn.Linear`'s default, U(-1/sqrt(d_in), 1/sqrt(d_in)); a generator a replicate."""
    bound = 1 / sqrt(d_in)
    draws = [torch.empty(d_out, d_in).uniform_(-bound, bound, generator=generator) for generator in generators]
    return nn.Parameter(torch.stack(draws))


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Apply each replicate's weight (R, d_out, d_in) to its own rows x (R, B, d_in); returns (R, B, d_out).

    x is rounded to the precision of the weight, which is the result's, too.
    """
    x = x.to(weight.dtype)
    if len(weight) == 1:  # a little faster than a batched product; squeezed, because the gradient of [0] is a copy
        return F.linear(x.squeeze(0), weight.squeeze(0))[None]
    return torch.bmm(x, weight.transpose(1, 2))


def input_gradient(dy: Tensor, weight: Tensor) -> Tensor:
    """Of y = linear(x, weight) the gradient dx (R, B, d_in), for dy (R, B, d_out)."""
    return linear(dy, weight.transpose(1, 2))


def write_weight_gradient(weight: Tensor, dy: Tensor, x: Tensor, *, add: bool = False) -> None:
    """Of y = linear(x, weight) the gradient (R, d_out, d_in), into `weight.grad`, or added to what is there."""
    assert weight.grad is not None
    rows, columns = dy.transpose(1, 2), x.to(weight.dtype)  # (R, d_out, B), (R, B, d_in)
    if add:
        weight.grad.baddbmm_(rows, columns)
    elif len(weight) == 1:
        torch.mm(rows[0], columns[0], out=weight.grad[0])
    else:
        torch.bmm(rows, columns, out=weight.grad)


class Kept(NamedTuple):
    """What a block needs to go backwards."""

    norm: tuple[Tensor, ...]  # of its norm
    normalised: Tensor  # (R, B, d_z), as W1 multiplies it
    inner: Tensor  # (R, B, d_h) before the activation; relu overwrites it
    active: Tensor  # (R, B, d_h) after it


class Block(nn.Module):
    """One residual block of an architecture; input and output are (R, B, d_z)."""

    def __init__(self, architecture: Architecture, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.norm = make_norm(architecture.norm, len(generators), architecture.d_z)
        self.w1 = linear_weight(architecture.d_z, architecture.d_h, generators)
        self.w2 = linear_weight(architecture.d_h, architecture.d_z, generators)
        self.activation = architecture.activation
        self.scale = branch_scale(architecture)

    def forward(self, z: Tensor) -> Tensor:
        """Add the branch to z (R, B, d_z)."""
        return self.compute(z)[0]

    def compute(self, z: Tensor) -> tuple[Tensor, Kept]:
        """Add the branch to z (R, B, d_z), and keep what `backward` needs."""
        normalised, of_norm = self.norm.compute(z)
        normalised = normalised.to(self.w1.dtype)  # (R, B, d_z)
        inner = linear(normalised, self.w1)  # (R, B, d_h)
        active = activate(self.activation, inner)  # (R, B, d_h)
        branch = linear(active, self.w2).float()  # (R, B, d_z)
        return torch.add(z, branch, alpha=self.scale), Kept(of_norm, normalised, inner, active)

    def backward(self, dz: Tensor, kept: Kept) -> Tensor:
        """Write the gradients of W1 and W2; turn that of the block's output into that of its input, in place."""
        scaled = dz if self.scale == 1 else dz * self.scale
        d_branch = scaled.to(self.w2.dtype)  # (R, B, d_z)
        write_weight_gradient(self.w2, d_branch, kept.active)
        d_active = input_gradient(d_branch, self.w2)  # (R, B, d_h)
        d_inner = activation_gradient(self.activation, d_active, kept)  # (R, B, d_h)
        write_weight_gradient(self.w1, d_inner, kept.normalised)
        d_normalised = input_gradient(d_inner, self.w1).float()  # (R, B, d_z)
        return dz.add_(self.norm.backward(d_normalised, kept.norm))


def activate(activation: Activation, inner: Tensor) -> Tensor:
    """The elementwise function inside a block; relu in place, since its result says all that its gradient needs."""
    match activation:
        case Activation.RELU:
            return inner.relu_()
        case Activation.GELU:
            return F.gelu(inner)
        case Activation.SILU:
            return F.silu(inner)


def activation_gradient(activation: Activation, d_active: Tensor, kept: Kept) -> Tensor:
    """Its gradient with respect to what it was applied to."""
    d_inner: Tensor
    match activation:
        case Activation.RELU:
            d_inner = aten.threshold_backward(d_active, kept.active, 0)
        case Activation.GELU:
            d_inner = aten.gelu_backward(d_active, kept.inner)
        case Activation.SILU:
            d_inner = aten.silu_backward(d_active, kept.inner)
    return d_inner


def branch_scale(architecture: Architecture) -> float:
    """The factor s on each branch; 1/sqrt(depth) keeps deep stacks of the size of shallow ones (arXiv 2309.16620)."""
    match architecture.branch_scale:
        case BranchScale.ONE:
            return 1.0
        case BranchScale.INVERSE_SQRT_DEPTH:
            return 1 / sqrt(architecture.depth)
