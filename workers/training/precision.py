"""In what precision a training computes, and how a network and its fp32 weights are laid out for it.

fp32: matrices multiply as they are. bf16: they multiply rounded copies, made once a step, while AdamW works on the
weights in fp32. Leaves out the gradients' mathematics (`network.py`).

n: all trained weights of all replicates.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor, nn

from nas_service.domain.search import Recipe
from workers.training.network import Network

Precision = Literal["fp32", "bf16"]
DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16}
ADAM_BETAS, ADAM_EPS = (0.9, 0.999), 1e-8  # PyTorch's defaults, as published
PIECE = 1 << 19  # weights that are cast, updated and rounded at once on a CPU: near what its own cache holds

_onednn_matmul = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]  # torch's types lack it


def precision_of(recipe: Recipe, device: torch.device) -> Precision:
    """The precision that a recipe trains in on a device: bf16 by itself where the hardware multiplies it faster."""
    if recipe.precision != "auto":
        return recipe.precision
    return "bf16" if has_fast_bf16(device) else "fp32"


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 in hardware: AMX or AVX-512 on a CPU, Ampere or later on a GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()


class TrainedWeights:
    """The weights of a network in one buffer and their gradient in another: each step casts and updates all at once.

    Attributes:
        computing: the network that multiplies: the given one, or in bf16 a copy with rounded weights and the same
            statistics. Its weights' `grad` are there to be written.
        moments: AdamW's state: "exp_avg" and "exp_avg_sq" (n,), and "step".
    """

    def __init__(
        self,
        network: Network,
        precision: Precision,
        weight_decay: float = 0.0,
        *,
        lr_factors: Mapping[str, float] | None = None,
        in_parts: bool = False,
    ) -> None:
        """Lay out the weights of a network on its device.

        Args:
            network: freshly made; its parameters become views of the weights in fp32.
            precision: of products.
            weight_decay: AdamW's; with the learning rate before its factors.
            lr_factors: on the learning rate of w_in, w_out, w1 and w2; None for the same rate everywhere.
            in_parts: whether a batch's gradient is to be added up from several parts.
        """
        weights, dtype = list(network.parameters()), DTYPES[precision]
        self._weight_decay = weight_decay
        self._master = torch.cat([weight.detach().flatten() for weight in weights])  # (n,)
        for weight, view in zip(weights, views_of(self._master, weights), strict=True):
            weight.data = view
        self._rounded = self._master.to(dtype)  # (n,); the same in fp32
        self._gradient = torch.zeros_like(self._rounded)  # (n,), of the last backward pass
        self._sum = torch.zeros_like(self._master) if in_parts else None  # (n,), of the parts of a batch
        self.computing = network
        if precision != "fp32":
            self.computing = rounded(network, dtype, views_of(self._rounded, weights))
        computing = list(self.computing.parameters())
        for weight, view in zip(computing, views_of(self._gradient, computing), strict=True):
            weight.grad = view
        self.moments = {
            "step": torch.zeros((), device=self._master.device),
            "exp_avg": torch.zeros_like(self._master),
            "exp_avg_sq": torch.zeros_like(self._master),
        }
        in_pieces = precision != "fp32" and self._master.device.type == "cpu"
        rated = [(len(self._master), 1.0)]  # weights that follow one another, and the factor on their rate
        if lr_factors is not None:
            named = network.named_parameters()
            rated = [(weight.numel(), lr_factors[name.rpartition(".")[2]]) for name, weight in named]
        pieces = list(cut(PIECE if in_pieces else len(self._master), rated))
        self._sizes, self._factors = [size for size, _ in pieces], [factor for _, factor in pieces]

    def collect_gradient(self, *, first: bool) -> None:
        """Where a batch's gradient comes in parts: sum what the last backward pass wrote."""
        if self._sum is not None:
            if first:
                self._sum.zero_()
            self._sum.add_(self._gradient)

    @torch.no_grad()
    def update(self, lr: float | Tensor) -> None:
        """One step of AdamW; `lr` is a tensor () where a recording is to replay it with others.

        `torch.optim.AdamW` calls the same kernel, by way of 0.15 ms of Python.
        """
        self.moments["step"] += 1
        gradient = self._gradient if self._sum is None else self._sum
        buffers = (self._master, gradient, self.moments["exp_avg"], self.moments["exp_avg_sq"], self._rounded)
        split = [torch.split(one, self._sizes) for one in buffers]
        for factor, master, grad, mean, square, low in zip(self._factors, *split, strict=True):
            torch._fused_adamw_(
                [master],
                [grad.float()],
                [mean],
                [square],
                [],
                [self.moments["step"]],
                lr=lr * factor,
                beta1=ADAM_BETAS[0],
                beta2=ADAM_BETAS[1],
                weight_decay=self._weight_decay / factor,
                eps=ADAM_EPS,
                amsgrad=False,
                maximize=False,
            )
            low.copy_(master)  # nothing happens in fp32, where they are the same

    def round(self) -> None:
        """Round the weights for products, after they were changed otherwise."""
        self._rounded.copy_(self._master)


def cut(most: int, rated: Iterable[tuple[int, float]]) -> Iterator[tuple[int, float]]:
    """Cut runs of weights, each with its factor, into pieces of at most so many."""
    for size, factor in rated:
        for start in range(0, size, most):
            yield min(most, size - start), factor


def views_of(flat: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """The parts of a buffer (n,) in the shapes of the weights, one after the other."""
    parts = torch.split(flat, [weight.numel() for weight in weights])
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]


def rounded(network: Network, dtype: torch.dtype, weights: Sequence[Tensor] | None = None) -> Network:
    """A copy of a network whose matrices are of that precision; it shares the normalisation statistics.

    Args:
        network: in fp32.
        dtype: of the copy's matrices.
        weights: rounded already, in the order of `network.parameters()`.
    """
    given = list(network.parameters())
    weights = [weight.detach().to(dtype) for weight in given] if weights is None else weights
    memo: dict[int, object] = {id(old): nn.Parameter(new) for old, new in zip(given, weights, strict=True)}
    memo |= {id(buffer): buffer for buffer in network.buffers()}
    fixed = network.fixed_projections()
    if fixed is not None:
        memo[id(fixed)] = fixed.to(dtype)
    return deepcopy(network, memo)


@lru_cache(maxsize=1)
def multiply_by_onednn() -> None:
    """Let oneDNN multiply fp32 matrices on a CPU, for good, if that is still fp32; on AMD it is twice as fast as MKL.

    The only way that torch offers is the permission to round to bf16, of which oneDNN makes use where AMX or the like
    does so in hardware. There, the permission is taken back.
    """
    _onednn_matmul.fp32_precision = "bf16"
    product = torch.full((128, 64), 1 + 2**-12) @ torch.ones(64, 128)  # bf16 has no 2^-12 beside 1
    if not bool((product == 64 * (1 + 2**-12)).all()):
        _onednn_matmul.fp32_precision = "none"
