"""The mean of a network's weights over the second half of an epoch: what halving compares at its rungs.

While the learning rate is still high the weights wander around what they have learned; their mean is closer to what a
falling learning rate would end at. Averaging begins anew in each such epoch, so no checkpoint has to carry it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nas_service.domain.stopping import AVERAGE
from workers.training.network import Network


class EpochAverage:
    """Running mean of a network's weights and normalisation statistics."""

    def __init__(self, network: Network, steps: int) -> None:
        """Begin before the first of the epoch's `steps`."""
        self._live: list[Tensor] = [tensor for tensor in network.state_dict().values() if tensor.is_floating_point()]
        self._mean = [tensor.clone() for tensor in self._live]
        self._skip = steps // 2
        self._added = 0

    @torch.no_grad()
    def add(self) -> None:
        """Take in the weights after a step."""
        if self._skip > 0:
            self._skip -= 1
            return
        self._added += 1
        torch._foreach_lerp_(self._mean, self._live, 1 / self._added)

    @contextmanager
    def in_the_network(self, changed: Callable[[], None]) -> Iterator[None]:
        """Put the mean into the network, and the weights back afterwards, to the bit; `changed` is called each time."""
        kept = [tensor.clone() for tensor in self._live]
        _copy(self._mean, self._live)
        changed()
        yield
        _copy(kept, self._live)
        changed()


def named_averages(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics of averaged weights under names of their own."""
    return {name + AVERAGE: value for name, value in metrics.items()}


@torch.no_grad()
def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    for kept, live in zip(source, target, strict=True):
        live.copy_(kept)
