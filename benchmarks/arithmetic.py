"""The arithmetic limit of a training step: its matrix products alone, each at the fastest rate measured here.

A step computes for each weight W (out, in) with input x (B, in): y = x W^T forward, then dW = gy^T x where W is trained
and dX = gy W where anything before it is. The limit is the sum of these products, timed one by one with warm caches;
whatever else a step does (batches, norms, activations, optimizer) comes on top. Leaves out the step itself.

B: batch.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional as F

from nas_service.domain.architecture import Architecture, Family, TaskShape, WIn, WOut
from workers.training.precision import multiply_by_onednn

Product = Literal["forward", "weight", "input"]  # y = x W^T, dW = gy^T x, dX = gy W

SAMPLE_SECONDS = 0.01  # a product is repeated for so long to be timed once
SAMPLES = 7  # of which the fastest counts
FLOPS_PER_MAC = 2


@dataclass(frozen=True)
class Gemm:
    """One matrix product of a step."""

    product: Product
    d_in: int
    d_out: int

    def macs(self, batch: int) -> int:
        """Multiply-adds."""
        return batch * self.d_in * self.d_out


@dataclass(frozen=True)
class Limit:
    """What a step's arithmetic takes at the measured rates."""

    macs: int  # multiply-adds of one step
    milliseconds: float

    @property
    def gflops(self) -> float:
        """The rate that this is, in 10^9 floating point operations a second."""
        return FLOPS_PER_MAC * self.macs / self.milliseconds / 1e6


def parse_shape(text: str) -> Architecture:
    """Read FAMILY:D_Z/D_HxDEPTH[:W_IN[:W_OUT]], as in hourglass:785/115x5:fixed_uniform.

    Raises:
        ValueError: when it is not of that form, or no such network is legal.
    """
    try:
        family, sizes, *projections = text.split(":")
        d_z, rest = sizes.split("/")
        d_h, depth = rest.split("x")
        names = dict(zip(("w_in", "w_out"), projections, strict=False))
        return Architecture.model_validate(
            {"family": Family(family), "d_z": int(d_z), "d_h": int(d_h), "depth": int(depth), **names}
        )
    except ValueError as error:
        raise ValueError(f"a shape reads FAMILY:D_Z/D_HxDEPTH[:W_IN[:W_OUT]] (got {text!r}: {error})") from error


def step_gemms(architecture: Architecture, task: TaskShape) -> list[Gemm]:
    """Every matrix product of a training step, in forward order of the weights.

    Raises:
        ValueError: when W_in is applied otherwise than by one dense product.
    """
    if architecture.w_in in (WIn.FIXED_SPARSE, WIn.FIXED_IDENTITY_PADDED) or architecture.w_out is WOut.TIED:
        raise ValueError("the limit is known of dense, untied projections only")
    d_z, d_h = architecture.d_z, architecture.d_h
    layers = [(d_z, d_h, True), (d_h, d_z, True)] * architecture.depth  # (in, out, trained)
    if architecture.w_in not in (WIn.NONE, WIn.IDENTITY):
        layers.insert(0, (task.d_x, d_z, architecture.w_in.is_trained))
    if architecture.w_out is WOut.LEARNED:
        layers.append((d_z, task.d_y, True))
    gemms, trained_before = [], False
    for d_in, d_out, trained in layers:
        gemms.append(Gemm("forward", d_in, d_out))
        gemms += [Gemm("weight", d_in, d_out)] if trained else []
        gemms += [Gemm("input", d_in, d_out)] if trained_before else []
        trained_before = trained_before or trained
    return gemms


def measure_limit(gemms: Iterable[Gemm], batch: int, dtype: torch.dtype) -> Limit:
    """Time each different product once and add them up as often as they occur."""
    multiply_by_onednn()  # as the trainer does
    counts = Counter(gemms)
    seconds = sum(count * fastest_seconds(runnable(gemm, batch, dtype)) for gemm, count in counts.items())
    macs = sum(count * gemm.macs(batch) for gemm, count in counts.items())
    return Limit(macs, 1e3 * seconds)


def runnable(gemm: Gemm, batch: int, dtype: torch.dtype) -> Callable[[], torch.Tensor]:
    """The product on random numbers, in the layouts that autograd uses."""
    x = torch.randn(batch, gemm.d_in).to(dtype)
    weight = torch.randn(gemm.d_out, gemm.d_in).to(dtype)
    grad = torch.randn(batch, gemm.d_out).to(dtype)
    match gemm.product:
        case "forward":
            return lambda: F.linear(x, weight)  # (B, out)
        case "weight":
            return lambda: grad.T @ x  # (out, in)
        case "input":
            return lambda: grad @ weight  # (B, in)


def fastest_seconds(call: Callable[[], torch.Tensor]) -> float:
    """Seconds of one call: the fastest of several samples after a warm-up."""
    repeats = 1
    while (seconds := _seconds_of(call, repeats)) < SAMPLE_SECONDS:
        repeats *= 2
    return min(seconds, *(_seconds_of(call, repeats) for _ in range(SAMPLES - 1))) / repeats


@torch.no_grad()
def _seconds_of(call: Callable[[], torch.Tensor], repeats: int) -> float:
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    return time.perf_counter() - start
