"""The stopping rule `halving`: which epochs are rungs, and who goes on from one. Pure rules on numbers.

Asynchronous successive halving (Li et al., arXiv 1810.05934) with two changes. What is compared at a rung is the
quality of averaged weights: the weights themselves favour small learning rates, which lead in the middle and lose at
the end. And a trial is held only against those that came to the rung before it and cost no more in any known cost, so
that a cheap network is never stopped for being worse than an expensive one. Its rank is the number of them that
dominate it (Fonseca and Fleming, 1993), so one that none of them dominates is never stopped.
"""

from collections.abc import Sequence

import numpy as np

from nas_service.domain.front import Points
from nas_service.domain.objectives import Objective
from nas_service.domain.values import Value

# Chosen on the replays of benchmarks/stopping.py; docs/LOG.md has what they give.
RUNGS = 3
FACTOR = 3  # between one rung's epochs and the next one's; of equal costs about one in so many goes on
FEWEST_PEERS = 3  # with fewer a trial goes on: the first arrivals would be judged by chance
AVERAGE = "_average"  # ends the name of a metric that is of averaged weights: psnr_db_average


class Standing(Value):
    """How a trial stood at a rung when it arrived there."""

    epoch: int  # of the rung: epochs finished
    peers: int  # trials of its arm that were there before it and cost no more
    better: int  # those of them that dominate it
    goes_on: bool

    @property
    def text(self) -> str:
        """The standing in words."""
        who = f"{self.better} of the {self.peers} trials there before it that cost no more"
        return f"after epoch {self.epoch}: dominated by {who}"


def rungs_of(epochs: int) -> tuple[int, ...]:
    """The epochs after which a training of that many is judged, in order: a 27th, a ninth and a third, rounded down."""
    shares = (epochs // FACTOR**power for power in range(RUNGS, 0, -1))
    return tuple(epoch for epoch in dict.fromkeys(shares) if epoch > 0)


def judge(
    epoch: int, values: Sequence[float], earlier: Sequence[Sequence[float]], objectives: Sequence[Objective]
) -> Standing:
    """Hold a trial that reached a rung against those that reached it before.

    Args:
        epoch: of the rung.
        values: of the trial: for each objective its known cost, or its quality at the rung.
        earlier: the same of every trial of its arm that reached the rung before it.
        objectives: known costs and qualities.
    """
    signs = np.array([1.0 if objective.direction == "minimize" else -1.0 for objective in objectives])
    costs = np.array([objective.is_known for objective in objectives])
    point = np.asarray(values, dtype=np.float64) * signs  # (m,)
    points: Points = np.asarray(earlier, dtype=np.float64).reshape(-1, len(objectives)) * signs  # (n, m)
    peers = points[np.all(points[:, costs] <= point[costs], axis=1)]
    better = int(np.sum(np.all(peers <= point, axis=1) & np.any(peers < point, axis=1)))
    goes_on = len(peers) < FEWEST_PEERS or better * FACTOR < len(peers) + 1  # itself counted
    return Standing(epoch=epoch, peers=len(peers), better=better, goes_on=goes_on)
