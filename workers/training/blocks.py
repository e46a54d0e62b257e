"""The residual block z + s W2 act(W1 norm(z)); an hourglass where d_h < d_z, a conventional one where d_h > d_z.

Norms have no weights and linear maps no biases, so that W1 and W2 are all that is trained. R replicates are computed at
once, each with weights and statistics of its own. Leaves out the projections.

R: replicates, B: batch, d_z: skip width, d_h: inner width.
"""

from collections.abc import Callable, Sequence
from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_service.domain.architecture import Activation, Architecture, BranchScale, Norm

BATCH_NORM_MOMENTUM = 0.1  # PyTorch's default, as published
BATCH_NORM_EPS = 1e-5


def linear_weight(d_in: int, d_out: int, generators: Sequence[torch.Generator]) -> nn.Parameter:
    """A weight (R, d_out, d_in) from `nn.Linear`'s default, U(-1/sqrt(d_in), 1/sqrt(d_in)); a generator a replicate."""
    bound = 1 / sqrt(d_in)
    draws = [torch.empty(d_out, d_in).uniform_(-bound, bound, generator=generator) for generator in generators]
    return nn.Parameter(torch.stack(draws))


def linear(x: Tensor, weight: Tensor) -> Tensor:
    """Apply each replicate's weight (R, d_out, d_in) to its own rows x (R, B, d_in); returns (R, B, d_out)."""
    if len(weight) == 1:  # a little faster than a batched product; squeezed, because the gradient of [0] is a copy
        return F.linear(x.squeeze(0), weight.squeeze(0))[None]
    return torch.bmm(x, weight.transpose(1, 2))


class Block(nn.Module):
    """One residual block of an architecture; input and output are (R, B, d_z)."""

    def __init__(self, architecture: Architecture, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.norm = make_norm(architecture.norm, len(generators), architecture.d_z)
        self.w1 = linear_weight(architecture.d_z, architecture.d_h, generators)
        self.w2 = linear_weight(architecture.d_h, architecture.d_z, generators)
        self.activation = activation_function(architecture.activation)
        self.scale = branch_scale(architecture)

    def forward(self, z: Tensor) -> Tensor:
        """Add the branch to z (R, B, d_z)."""
        h = self.activation(linear(self.norm(z), self.w1))  # (R, B, d_h)
        return torch.add(z, linear(h, self.w2), alpha=self.scale)  # (R, B, d_z)


class BatchNorm(nn.Module):
    """BatchNorm without affine: batch statistics in training, running ones at evaluation.

    `nn.BatchNorm1d` also stores a count of batches, which nothing here reads and every file would carry.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, replicates: int, width: int) -> None:
        super().__init__()
        self.register_buffer("running_mean", torch.zeros(replicates, width))
        self.register_buffer("running_var", torch.ones(replicates, width))

    def forward(self, z: Tensor) -> Tensor:
        """Normalise each column of each replicate's z (R, B, d_z)."""
        replicates, batch, width = z.shape
        # The kernel knows columns only: the replicates stand side by side. Of one replicate this is a view, no copy.
        columns = z.transpose(0, 1).reshape(batch, replicates * width)  # (B, R d_z)
        normalised = F.batch_norm(
            columns,
            self.running_mean.view(-1),
            self.running_var.view(-1),
            training=self.training,
            momentum=BATCH_NORM_MOMENTUM,
            eps=BATCH_NORM_EPS,
        )
        return normalised.view(batch, replicates, width).transpose(0, 1)


class RowNorm(nn.Module):
    """Layer or RMS norm without weights: each row of z (R, B, d_z) by its own statistics."""

    def __init__(self, centred: bool) -> None:
        super().__init__()
        self.centred = centred

    def forward(self, z: Tensor) -> Tensor:
        """Normalise each row of z (R, B, d_z)."""
        return F.layer_norm(z, z.shape[2:]) if self.centred else F.rms_norm(z, z.shape[2:])


def make_norm(norm: Norm, replicates: int, width: int) -> nn.Module:
    """The norm before a block of that skip width."""
    match norm:
        case Norm.BATCH:
            return BatchNorm(replicates, width)
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
