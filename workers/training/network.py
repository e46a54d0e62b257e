"""The network of an architecture as a torch module: projection, blocks, projection, sigmoid.

    z_0 = W_in x        z_depth = blocks(z_0)        y = sigmoid(W_out z_depth)

x: (R, B, d_x), z: (R, B, d_z), y: (R, B, d_y), R replicates with weights of their own, computed at once; dz is the
loss's gradient with respect to z. Source: arXiv 2510.01796.

Leaves out the blocks (`blocks.py`) and how they are joined (`wirings.py`), training (`train.py`) and files
(`network_file.py`).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_service.domain.architecture import Architecture, TaskShape, WIn, WOut
from workers.training.blocks import Block, input_gradient, linear, linear_weight, write_weight_gradient
from workers.training.projection import draw_projection, projection_hash
from workers.training.wirings import Kept, back_through, through


class Network(nn.Module):
    """Replicates of one network, each initialised from a seed of its own exactly as if it were alone.

    A fixed W_in is a buffer outside the state dict: it is drawn again from the seed, never stored.

    Attributes:
        architecture: its sizes and choices.
        shape: widths of input and output.
        seeds: of the initial weights and of a fixed W_in, one for each replicate.
        projection_hashes: sha256 of each replicate's fixed W_in; None when W_in is not one.
    """

    w_in: Tensor | None  # (R, d_z, d_x); (R, d_z - d_x, d_x) when the first rows of W_in are the identity
    w_out: Tensor | None  # (R, d_y, d_z)

    def __init__(self, architecture: Architecture, shape: TaskShape, *seeds: int) -> None:
        """Draw all weights, of as many replicates as there are seeds.

        Raises:
            IllegalArchitecture: when the architecture does not fit the widths of the task.
        """
        super().__init__()
        architecture.check_fits(shape)
        self.architecture = architecture
        self.shape = shape
        self.seeds = seeds
        self.projection_hashes: tuple[str | None, ...] = (None,) * len(seeds)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._make_w_in(generators)
        self.blocks = nn.ModuleList(Block(architecture, generators) for _ in range(architecture.depth))
        if architecture.w_out is WOut.LEARNED:
            self.w_out = linear_weight(architecture.d_z, shape.d_y, generators)
        else:
            self.register_parameter("w_out", None)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (R, B, d_x) to y (R, B, d_y) in [0, 1]; of one replicate also x (B, d_x) to y (B, d_y)."""
        if x.dim() == 2:
            alone: Tensor = self(x[None])[0]
            return alone
        return self.with_blocks(x, self.joined_blocks())

    def with_blocks(self, x: Tensor, blocks: Sequence[Block]) -> Tensor:
        """Map x (R, B, d_x) to y (R, B, d_y) through some of the blocks alone, as if the others were not there."""
        z = through(self.architecture.wiring, blocks, self.lifted(x))  # (R, B, d_z)
        return torch.sigmoid(self._leave(z).float())  # (R, B, d_y)

    def lifted(self, x: Tensor) -> Tensor:
        """z_0 (R, B, d_z) of x (R, B, d_x), in float32."""
        return self._enter(x).float()

    def joined_blocks(self) -> list[Block]:
        """The blocks in order."""
        return [block for block in self.blocks if isinstance(block, Block)]

    @torch.no_grad()
    def backpropagate(self, x: Tensor, targets: Tensor, share: float = 1.0) -> Tensor:
        """Compute the loss and write its gradient, `share` times, to the `grad` of every trained weight.

        Args:
            x: inputs (R, B, d_x).
            targets: (R, B, d_y).
            share: of these examples in a batch that is computed in parts.

        Returns:
            `share` times each replicate's mean squared error (R,): of their sum each has its own gradient.
        """
        wiring, kept = self.architecture.wiring, list[Kept]()
        z = through(wiring, self.joined_blocks(), self.lifted(x), kept)  # (R, B, d_z)
        y = torch.sigmoid(self._leave(z).float())  # (R, B, d_y)
        error = y - targets  # (R, B, d_y)
        losses = error.square().mean(dim=(1, 2)).mul_(share)  # (R,)
        dy = error.mul_(2 * share / error[0].numel())  # (R, B, d_y)
        dz = self._leave_backward(torch.ops.aten.sigmoid_backward(dy, y), z)  # (R, B, d_z)
        self._enter_backward(back_through(wiring, self.joined_blocks(), dz, kept), x)
        return losses

    def replicate(self, number: int) -> "Network":
        """One of the replicates as a network of its own, on the CPU, in evaluation mode."""
        alone = Network(self.architecture, self.shape, self.seeds[number])
        alone.load_state_dict({name: tensor[number : number + 1] for name, tensor in self.state_dict().items()})
        return alone.eval()

    def fixed_projections(self) -> Tensor | None:
        """The frozen W_in as drawn (see `projection.draw_projection`), (R, ., d_x); None when W_in is not random."""
        return self.w_in if self.architecture.w_in.is_fixed_random else None

    def _make_w_in(self, generators: Sequence[torch.Generator]) -> None:
        kind, d_x, d_z = self.architecture.w_in, self.shape.d_x, self.architecture.d_z
        match kind:
            case WIn.LEARNED:
                self.w_in = linear_weight(d_x, d_z, generators)
            case WIn.IDENTITY_INIT:
                self.w_in = nn.Parameter(torch.eye(d_z, d_x).repeat(len(generators), 1, 1))
            case WIn.IDENTITY | WIn.NONE:
                self.register_parameter("w_in", None)
            case _:
                matrices = [draw_projection(kind, d_x, d_z, seed) for seed in self.seeds]
                self.projection_hashes = tuple(projection_hash(matrix) for matrix in matrices)
                self.register_buffer("w_in", torch.from_numpy(np.stack(matrices)), persistent=False)

    def _enter(self, x: Tensor) -> Tensor:
        """z_0 of x; also of a fixed W_in batch by batch, since noise is clipped before it, not lifted."""
        match self.architecture.w_in:
            case WIn.NONE:
                return x
            case WIn.IDENTITY:
                return F.pad(x, (0, self.architecture.d_z - self.shape.d_x))
            case WIn.FIXED_IDENTITY_PADDED:
                return torch.cat([x, self._times_w_in(x).float()], dim=2)
            case _:
                return self._times_w_in(x)

    def _leave(self, z: Tensor) -> Tensor:
        match self.architecture.w_out:
            case WOut.NONE:
                return z
            case WOut.LEARNED:
                assert self.w_out is not None
                return linear(z, self.w_out)
            case WOut.TIED:
                assert self.w_in is not None
                if self.architecture.w_in is WIn.FIXED_IDENTITY_PADDED:
                    d_x = self.shape.d_x
                    return z[:, :, :d_x] + linear(z[:, :, d_x:], self.w_in.transpose(1, 2))
                return linear(z, self.w_in.transpose(1, 2))

    def _leave_backward(self, d_logits: Tensor, z: Tensor) -> Tensor:
        """The gradient dz (R, B, d_z) for d_logits (R, B, d_y); writes that of a learned or tied and learned matrix."""
        match self.architecture.w_out:
            case WOut.NONE:
                return d_logits
            case WOut.LEARNED:
                assert self.w_out is not None
                d_logits = d_logits.to(self.w_out.dtype)
                write_weight_gradient(self.w_out, d_logits, z)
                return input_gradient(d_logits, self.w_out).float()
            case WOut.TIED:
                assert self.w_in is not None
                if self.w_in.requires_grad:
                    write_weight_gradient(self.w_in, z.to(self.w_in.dtype), d_logits)
                return self._enter(d_logits).float()  # W_in, the transpose of W_out

    def _enter_backward(self, dz: Tensor, x: Tensor) -> None:
        """Write the gradient of a trained W_in, or add it to what it got as W_out."""
        if self.w_in is not None and self.w_in.requires_grad:
            tied = self.architecture.w_out is WOut.TIED
            write_weight_gradient(self.w_in, dz.to(self.w_in.dtype), x, add=tied)

    def _times_w_in(self, x: Tensor) -> Tensor:
        assert self.w_in is not None
        return linear(x, self.w_in)
