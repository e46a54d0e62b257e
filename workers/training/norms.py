"""The norms before a block, none with weights, each with its gradient written out; all in float32.

`compute` returns the normalised z and what `backward` needs. Leaves out the blocks.

R: replicates, B: batch, d_z: skip width.
"""

import torch
from torch import Tensor, nn

from nas_service.domain.architecture import Norm

BATCH_NORM_MOMENTUM = 0.1  # PyTorch's default, as published
NORM_EPS = 1e-5  # PyTorch's default of batch and layer norm, as published
ONLY_INPUT = [True, False, False]  # of the gradients that torch's norms can compute

Kept = tuple[Tensor, ...]

aten = torch.ops.aten


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

    def compute(self, z: Tensor) -> tuple[Tensor, Kept]:
        """Normalise each column of each replicate's z (R, B, d_z)."""
        columns = side_by_side(z)  # (B, R d_z)
        means, variances = self.running_mean.view(-1), self.running_var.view(-1)
        normalised, *statistics = torch.native_batch_norm(
            columns, None, None, means, variances, self.training, BATCH_NORM_MOMENTUM, NORM_EPS
        )
        return apart(normalised, len(z)), (columns, *statistics)

    def backward(self, d_normalised: Tensor, kept: Kept) -> Tensor:
        """The gradient dz (R, B, d_z) in training."""
        columns, *statistics = kept
        dz, _, _ = aten.native_batch_norm_backward(
            side_by_side(d_normalised), columns, None, None, None, *statistics, True, NORM_EPS, ONLY_INPUT
        )
        return apart(dz, len(d_normalised))


def side_by_side(z: Tensor) -> Tensor:
    """The replicates' z (R, B, d_z) as columns (B, R d_z): BatchNorm's kernel knows no others. Of one, a view."""
    return z.transpose(0, 1).reshape(z.shape[1], -1)


def apart(columns: Tensor, replicates: int) -> Tensor:
    """The opposite, a view (R, B, d_z)."""
    return columns.view(len(columns), replicates, -1).transpose(0, 1)


class LayerNorm(nn.Module):
    """Layer norm without weights: each row of z (R, B, d_z) by its own mean and variance."""

    def compute(self, z: Tensor) -> tuple[Tensor, Kept]:
        """Normalise each row."""
        normalised, *statistics = torch.native_layer_norm(z, z.shape[2:], None, None, NORM_EPS)
        return normalised, (z, *statistics)

    def backward(self, d_normalised: Tensor, kept: Kept) -> Tensor:
        """The gradient dz (R, B, d_z)."""
        z, *statistics = kept
        dz: Tensor
        dz, _, _ = aten.native_layer_norm_backward(d_normalised, z, z.shape[2:], *statistics, None, None, ONLY_INPUT)
        return dz


class RMSNorm(nn.Module):
    """RMS norm without weights: each row of z (R, B, d_z) divided by the root of its mean square."""

    def compute(self, z: Tensor) -> tuple[Tensor, Kept]:
        """Normalise each row."""
        factor = torch.rsqrt(z.square().mean(dim=2, keepdim=True) + torch.finfo(z.dtype).eps)  # (R, B, 1)
        normalised = z * factor
        return normalised, (normalised, factor)

    def backward(self, d_normalised: Tensor, kept: Kept) -> Tensor:
        """The gradient dz (R, B, d_z)."""
        normalised, factor = kept
        along = (d_normalised * normalised).mean(dim=2, keepdim=True)  # (R, B, 1)
        return (d_normalised - normalised * along).mul_(factor)


class NoNorm(nn.Module):
    """z itself."""

    def compute(self, z: Tensor) -> tuple[Tensor, Kept]:
        """Return z."""
        return z, ()

    def backward(self, d_normalised: Tensor, kept: Kept) -> Tensor:
        """The same gradient."""
        return d_normalised


AnyNorm = BatchNorm | LayerNorm | RMSNorm | NoNorm


def make_norm(norm: Norm, replicates: int, width: int) -> AnyNorm:
    """The norm before a block of that skip width."""
    match norm:
        case Norm.BATCH:
            return BatchNorm(replicates, width)
        case Norm.LAYER:
            return LayerNorm()
        case Norm.RMS:
            return RMSNorm()
        case Norm.NONE:
            return NoNorm()
