"""The residual block z + s W2 act(W1 norm(z)); an hourglass where d_h < d_z, a conventional one where d_h > d_z.

Norms have no weights and linear maps no biases, so that W1 and W2 are all that is trained. Leaves out the projections.

B: batch, d_z: skip width, d_h: inner width.
"""

from collections.abc import Callable
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_service.domain.architecture import Activation, Architecture, BranchScale, Norm

BATCH_NORM_MOMENTUM = 0.1  # PyTorch's default, as published
BATCH_NORM_EPS = 1e-5


def linear_weight(d_in: int, d_out: int, generator: torch.Generator) -> nn.Parameter:
    """A weight (d_out, d_in) from `nn.Linear`'s default, U(-1/sqrt(d_in), 1/sqrt(d_in))."""
    bound = 1 / sqrt(d_in)
    return nn.Parameter(torch.empty(d_out, d_in).uniform_(-bound, bound, generator=generator))


class Block(nn.Module):
    """One residual block of an architecture; input and output are (B, d_z)."""

    def __init__(self, architecture: Architecture, generator: torch.Generator) -> None:
        super().__init__()
        self.norm = make_norm(architecture.norm, architecture.d_z)
        self.w1 = linear_weight(architecture.d_z, architecture.d_h, generator)
        self.w2 = linear_weight(architecture.d_h, architecture.d_z, generator)
        self.activation = activation_function(architecture.activation)
        self.scale = branch_scale(architecture)

    def forward(self, z: Tensor) -> Tensor:
        """Add the branch to z (B, d_z)."""
        h = self.activation(F.linear(self.norm(z), self.w1))  # (B, d_h)
        return torch.add(z, F.linear(h, self.w2), alpha=self.scale)  # (B, d_z)


class BatchNorm(nn.Module):
    """BatchNorm without affine: batch statistics in training, running ones at evaluation.

    `nn.BatchNorm1d` also stores a count of batches, which nothing here reads and every file would carry.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, z: Tensor) -> Tensor:
        """Normalise each column of z (B, d_z)."""
        return F.batch_norm(
            z,
            self.running_mean,
            self.running_var,
            training=self.training,
            momentum=BATCH_NORM_MOMENTUM,
            eps=BATCH_NORM_EPS,
        )


class RowNorm(nn.Module):
    """Layer or RMS norm without weights: each row of z (B, d_z) by its own statistics."""

    def __init__(self, centred: bool) -> None:
        super().__init__()
        self.centred = centred

    def forward(self, z: Tensor) -> Tensor:
        """Normalise each row of z (B, d_z)."""
        return F.layer_norm(z, z.shape[1:]) if self.centred else F.rms_norm(z, z.shape[1:])


def make_norm(norm: Norm, width: int) -> nn.Module:
    """The norm before a block of that skip width."""
    match norm:
        case Norm.BATCH:
            return BatchNorm(width)
        case Norm.LAYER:
            return RowNorm(centred=True)
        case Norm.RMS:
            return RowNorm(centred=False)
        case Norm.NONE:
            return nn.Identity()


def activation_function(activation: Activation) -> Callable[[Tensor], Tensor]:
    """The elementwise function inside a block."""
    match activation:
        case Activation.RELU:
            return F.relu
        case Activation.GELU:
            return F.gelu
        case Activation.SILU:
            return F.silu


def branch_scale(architecture: Architecture) -> float:
    """The factor s on each branch; 1/sqrt(depth) keeps deep stacks of the size of shallow ones (arXiv 2309.16620)."""
    match architecture.branch_scale:
        case BranchScale.ONE:
            return 1.0
        case BranchScale.INVERSE_SQRT_DEPTH:
            return 1 / sqrt(architecture.depth)
