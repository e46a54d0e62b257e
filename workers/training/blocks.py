"""The branch of a block, s W2 act(W1 norm(z)): an hourglass's where d_h < d_z, a conventional one's where d_h > d_z.

Norms have no weights and linear maps no biases, so that W1 and W2 are all that is trained. R replicates are computed at
once, each with weights and statistics of its own. Gradients are written out by hand: autograd would allocate each
anew at every step and cast more often. z stays in float32; weights may be bfloat16, and what they multiply is then
rounded to it. Leaves out how branches are joined (`wirings.py`), norms (`norms.py`) and projections (`network.py`).

R: replicates, B: batch, d_z: skip width, d_h: inner width, d_i: width of W1 z (d_h, for swiglu 2 d_h); dx is the loss's
gradient with respect to x.
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


class KeptOfFirst(NamedTuple):
    """What the first half of a block needs to go backwards."""

    norm: tuple[Tensor, ...]  # of its norm
    normalised: Tensor  # (R, B, d_z), as W1 multiplies it


class KeptOfSecond(NamedTuple):
    """What the second half of a block needs to go backwards."""

    inner: Tensor  # (R, B, d_i) before the activation; relu overwrites it
    active: Tensor  # (R, B, d_h) after it


class Block(nn.Module):
    """Norm, W1, activation and W2 of one block, in two halves that meet at the inner width."""

    def __init__(self, architecture: Architecture, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        gates = 2 if architecture.activation is Activation.SWIGLU else 1
        self.norm = make_norm(architecture.norm, len(generators), architecture.d_z)
        self.w1 = linear_weight(architecture.d_z, gates * architecture.d_h, generators)
        self.w2 = linear_weight(architecture.d_h, architecture.d_z, generators)
        self.activation = architecture.activation
        self.scale = branch_scale(architecture)

    def first(self, z: Tensor) -> tuple[Tensor, KeptOfFirst]:
        """W1 norm(z) of z (R, B, d_z): (R, B, d_i) in the precision of the weights."""
        normalised, of_norm = self.norm.compute(z)
        normalised = normalised.to(self.w1.dtype)  # (R, B, d_z)
        return linear(normalised, self.w1), KeptOfFirst(of_norm, normalised)

    def second(self, inner: Tensor) -> tuple[Tensor, KeptOfSecond]:
        """W2 act(inner) of inner (R, B, d_i), which may be overwritten: (R, B, d_z) in float32."""
        active = activate(self.activation, inner)  # (R, B, d_h)
        return linear(active, self.w2).float(), KeptOfSecond(inner, active)

    def second_backward(self, dy: Tensor, kept: KeptOfSecond) -> Tensor:
        """The gradient (R, B, d_i) of the second half's input for that of its output; writes that of W2."""
        dy = dy.to(self.w2.dtype)  # (R, B, d_z)
        write_weight_gradient(self.w2, dy, kept.active)
        return activation_gradient(self.activation, input_gradient(dy, self.w2), kept)

    def first_backward(self, d_inner: Tensor, kept: KeptOfFirst) -> Tensor:
        """The gradient (R, B, d_z) of the first half's input for that of its output; writes that of W1."""
        d_inner = d_inner.to(self.w1.dtype)  # (R, B, d_i)
        write_weight_gradient(self.w1, d_inner, kept.normalised)
        return self.norm.backward(input_gradient(d_inner, self.w1).float(), kept.norm)


def activate(activation: Activation, inner: Tensor) -> Tensor:
    """The function inside a block, of (R, B, d_i); relu in place, since its result says all that its gradient needs."""
    match activation:
        case Activation.RELU:
            return inner.relu_()
        case Activation.GELU:
            return F.gelu(inner)
        case Activation.SILU:
            return F.silu(inner)
        case Activation.SWIGLU:
            gate, value = inner.chunk(2, dim=2)
            return F.silu(gate) * value


def activation_gradient(activation: Activation, d_active: Tensor, kept: KeptOfSecond) -> Tensor:
    """Its gradient (R, B, d_i) with respect to what it was applied to, for d_active (R, B, d_h)."""
    d_inner: Tensor
    match activation:
        case Activation.RELU:
            d_inner = aten.threshold_backward(d_active, kept.active, 0)
        case Activation.GELU:
            d_inner = aten.gelu_backward(d_active, kept.inner)
        case Activation.SILU:
            d_inner = aten.silu_backward(d_active, kept.inner)
        case Activation.SWIGLU:
            gate, value = kept.inner.chunk(2, dim=2)
            d_inner = torch.cat([aten.silu_backward(d_active * value, gate), d_active * F.silu(gate)], dim=2)
    return d_inner


def branch_scale(architecture: Architecture) -> float:
    """The factor s on each branch; 1/sqrt(depth) keeps deep stacks of the size of shallow ones (arXiv 2309.16620)."""
    match architecture.branch_scale:
        case BranchScale.ONE:
            return 1.0
        case BranchScale.INVERSE_SQRT_DEPTH:
            return 1 / sqrt(architecture.depth)
