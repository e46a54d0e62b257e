"""The network of an architecture as a torch module: projection, blocks, projection, sigmoid.

    z_0 = W_in x        z_{i+1} = block_i(z_i)        y = sigmoid(W_out z_depth)

x: (B, d_x), z: (B, d_z), y: (B, d_y). Source: arXiv 2510.01796. Leaves out the blocks (`blocks.py`), training
(`train.py`) and files (`network_file.py`).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas_service.domain.architecture import Architecture, TaskShape, WIn, WOut
from workers.training.blocks import Block, linear_weight
from workers.training.projection import draw_projection, projection_hash


class Network(nn.Module):
    """One network, initialised from a seed.

    A fixed W_in is a buffer outside the state dict: it is drawn again from the seed, never stored.

    Attributes:
        architecture: its sizes and choices.
        shape: widths of input and output.
        seed: of the initial weights and of a fixed W_in.
        projection_hash: sha256 of a fixed W_in; None when W_in is not one.
    """

    w_in: Tensor | None  # (d_z, d_x); (d_z - d_x, d_x) when the first rows of W_in are the identity
    w_out: Tensor | None  # (d_y, d_z)

    def __init__(self, architecture: Architecture, shape: TaskShape, seed: int) -> None:
        """Draw all weights.

        Raises:
            IllegalArchitecture: when the architecture does not fit the widths of the task.
        """
        super().__init__()
        architecture.check_fits(shape)
        self.architecture = architecture
        self.shape = shape
        self.seed = seed
        self.projection_hash: str | None = None
        generator = torch.Generator().manual_seed(seed)
        self._make_w_in(generator)
        self.blocks = nn.ModuleList(Block(architecture, generator) for _ in range(architecture.depth))
        if architecture.w_out is WOut.LEARNED:
            self.w_out = linear_weight(architecture.d_z, shape.d_y, generator)
        else:
            self.register_parameter("w_out", None)

    def forward(self, x: Tensor) -> Tensor:
        """Map x (B, d_x) to y (B, d_y) in [0, 1]."""
        # The skip stays in float32 under autocast: rounding it to bfloat16 at every block would lose small branches.
        z = self._enter(x).float()  # (B, d_z)
        for block in self.blocks:
            z = block(z)  # (B, d_z)
        return torch.sigmoid(self._leave(z).float())  # (B, d_y)

    def fixed_projection(self) -> Tensor | None:
        """The frozen W_in as drawn (see `projection.draw_projection`); None when W_in is not fixed at random."""
        return self.w_in if self.architecture.w_in.is_fixed_random else None

    def _make_w_in(self, generator: torch.Generator) -> None:
        kind, d_x, d_z = self.architecture.w_in, self.shape.d_x, self.architecture.d_z
        match kind:
            case WIn.LEARNED:
                self.w_in = linear_weight(d_x, d_z, generator)
            case WIn.IDENTITY_INIT:
                self.w_in = nn.Parameter(torch.eye(d_z, d_x))
            case WIn.IDENTITY | WIn.NONE:
                self.register_parameter("w_in", None)
            case _:
                matrix = draw_projection(kind, d_x, d_z, self.seed)
                self.projection_hash = projection_hash(matrix)
                self.register_buffer("w_in", torch.from_numpy(matrix), persistent=False)

    def _enter(self, x: Tensor) -> Tensor:
        match self.architecture.w_in:
            case WIn.NONE:
                return x
            case WIn.IDENTITY:
                return F.pad(x, (0, self.architecture.d_z - self.shape.d_x))
            case WIn.FIXED_IDENTITY_PADDED:
                return torch.cat([x, self._times_w_in(x)], dim=1)
            case _:
                return self._times_w_in(x)

    def _leave(self, z: Tensor) -> Tensor:
        match self.architecture.w_out:
            case WOut.NONE:
                return z
            case WOut.LEARNED:
                assert self.w_out is not None
                return F.linear(z, self.w_out)
            case WOut.TIED:
                assert self.w_in is not None
                if self.architecture.w_in is WIn.FIXED_IDENTITY_PADDED:
                    d_x = self.shape.d_x
                    return z[:, :d_x] + z[:, d_x:] @ self.w_in
                return z @ self.w_in

    def _times_w_in(self, x: Tensor) -> Tensor:
        assert self.w_in is not None
        return F.linear(x, self.w_in)
