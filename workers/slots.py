"""How many trials a worker trains at once, where `--slots auto` leaves that to it. No clock here: times are told.

An epoch counts as its images times the square root of the multiply-adds of one: the time of an image grows with the
network by a power between 0 (starting kernels takes it all) and 1 (arithmetic does), so that the work of trials of
other sizes is comparable in either case to within the root of their difference.
"""

from dataclasses import dataclass
from math import sqrt

MOST_SLOTS = 16
LEAST_GAIN = 1.1  # of throughput, for a slot that was added to stay
OTHER_SIZE = 2.0  # trials that differ by this factor are not compared
LEAST_SECONDS = 10.0  # that each slot is watched, over whole epochs


@dataclass(frozen=True)
class Measured:
    """What was seen while every slot trained."""

    throughput: float  # work a second, summed over the slots
    size: float  # work of one image, on average


class AutoSlots:
    """The number of slots: one more as long as the last one paid and there is memory for another."""

    def __init__(self, most: int = MOST_SLOTS) -> None:
        """Begin with one slot.

        Args:
            most: there are never more.
        """
        self.slots = 1
        self._most = most
        self._before: Measured | None = None  # with one slot less, when the last one is on trial
        self._settled: Measured | None = None  # when one more had not paid

    def decide(self, now: Measured, another_fits: bool) -> int:
        """The number of slots from here on.

        Args:
            now: measured since the last decision.
            another_fits: whether the memory suffices for one more trial.
        """
        if self._settled is not None and not _differ(now, self._settled):
            return self.slots
        before, self._before, self._settled = self._before, None, None
        if before is not None and _differ(now, before):
            self.slots -= 1  # the comparison says nothing: tried again
        elif before is not None and now.throughput < LEAST_GAIN * before.throughput:
            self.slots -= 1
            self._settled = now
        elif another_fits and self.slots < self._most:
            self.slots += 1
            self._before = now
        return self.slots


class Pace:
    """The work of each slot over whole epochs, since the last `restart`. Slots may note theirs at once."""

    def __init__(self) -> None:
        self._watched: dict[int, _Watched] = {}

    def restart(self) -> None:
        """Forget what was noted."""
        self._watched = {}

    def note(self, slot: int, images: int, macs: int, now: float) -> None:
        """Note the end of an epoch in a slot; from the first one on it is watched."""
        watched = self._watched  # of this moment: a restart puts another one there
        so_far = watched.get(slot)
        watched[slot] = _Watched(now, now) if so_far is None else so_far.then(images, macs, now)

    def measured(self, slots: int) -> Measured | None:
        """What the slots below this number did; None until each was watched for long enough."""
        watched = [self._watched[slot] for slot in range(slots) if slot in self._watched]
        if len(watched) < slots or any(one.until - one.since < LEAST_SECONDS for one in watched):
            return None
        throughput = sum(one.work / (one.until - one.since) for one in watched)
        return Measured(throughput, sum(one.work for one in watched) / sum(one.images for one in watched))


@dataclass(frozen=True)
class _Watched:
    since: float  # seconds
    until: float
    images: int = 0
    work: float = 0.0

    def then(self, images: int, macs: int, now: float) -> "_Watched":
        return _Watched(self.since, now, self.images + images, self.work + images * sqrt(macs))


def _differ(one: Measured, other: Measured) -> bool:
    return max(one.size, other.size) > OTHER_SIZE * min(one.size, other.size)
