"""Gaussian noise that is counted, not drawn in order: a pure function of (seed, stream, epoch, visit, sample, pixel).

A splitmix64 hash of the counter gives 16 bits a pixel, which pick one of 65,536 normal quantiles. So the noise of an
image is the same bit for bit whatever the batch size and the device. Leaves out what is done with it.

B: images in the batch, P: numbers in one image.
"""

from functools import cache, lru_cache

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

LEVELS = 65_536  # 16 bits; the largest |z| is 4.33, which 1 true normal draw in 65,000 exceeds
QUANTILE_GRID = 2.0**20  # quantiles are rounded to it, so that every math library gives the same table
_WORD = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15  # splitmix64's increment (Steele, Lea, Flood, OOPSLA 2014)
_MULTIPLIERS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def counted_noise(seed: int, stream: int, epoch: int | Tensor, visits: Tensor, samples: Tensor, size: int) -> Tensor:
    """Standard normal noise (B, P) in float32 for the given images, on their device.

    Args:
        seed: of the run.
        stream: keeps the splits apart.
        epoch: from 0; as a tensor () int64 on the device where a recording is to replay it with others.
        visits: which visit of the epoch each image is at, (B,) int64.
        samples: index of each image in its split, (B,) int64.
        size: P.
    """
    run = _mix_number(_mix_number(seed) ^ stream)
    if isinstance(epoch, Tensor):
        prefix: int | Tensor = _mix((epoch ^ _signed(run)) + _signed(_GOLDEN))  # the same number
    else:
        prefix = _signed(_mix_number(run ^ epoch))
    keys = _mix((samples << 8 | visits) ^ prefix)  # (B,); at most 4 visits, so 8 bits are room enough
    words = _counters(-(-size // 4), keys.device) + keys[:, None]  # (B, P/4): one word makes four pixels
    bits = _mix(words).view(torch.int16)[:, :size]  # (B, P)
    index = bits.to(torch.int32).add_(LEVELS // 2)
    return _quantiles(keys.device).index_select(0, index.reshape(-1)).view(len(samples), size)


def derived_seed(seed: int, *parts: int) -> int:
    """A seed of 63 bits for one purpose of a run: different parts give unrelated streams."""
    word = _mix_number(seed)
    for part in parts:
        word = _mix_number(word ^ part)
    return word >> 1


@lru_cache(maxsize=4)
def _quantiles(device: torch.device) -> Tensor:
    """The 65,536 midpoint quantiles of the standard normal, scaled to variance 1."""
    table = ndtri((np.arange(LEVELS) + 0.5) / LEVELS)
    table = np.round(table / table.std() * QUANTILE_GRID) / QUANTILE_GRID
    return torch.from_numpy(table.astype(np.float32)).to(device)


@cache  # never freed: another slot's stream may still read one
def _counters(count: int, device: torch.device) -> Tensor:
    # Made on the CPU: the copy is done when it returns, a kernel of this slot's stream might not be.
    return (torch.arange(1, count + 1) * _signed(_GOLDEN)).to(device)


def _mix(x: Tensor) -> Tensor:
    """Apply splitmix64's finaliser to int64 words; products wrap, as they should."""
    x = (x ^ _shifted(x, 30)).mul_(_signed(_MULTIPLIERS[0]))
    x.bitwise_xor_(_shifted(x, 27)).mul_(_signed(_MULTIPLIERS[1]))
    return x.bitwise_xor_(_shifted(x, 31))


def _shifted(x: Tensor, bits: int) -> Tensor:
    """Shift right without the sign, which torch's shift of int64 would drag along."""
    return (x >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix_number(x: int) -> int:
    x = (x + _GOLDEN) & _WORD
    x = ((x ^ (x >> 30)) * _MULTIPLIERS[0]) & _WORD
    x = ((x ^ (x >> 27)) * _MULTIPLIERS[1]) & _WORD
    return x ^ (x >> 31)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word
