"""The memory of a worker's device, shared by the trials of its slots: each is promised its part before it starts.

Free memory alone would deceive: the trials beside have not yet taken all that they will need. Leaves out predicting
what a trial needs (`training/memory.py`), and other processes, which show only in what is free.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from time import sleep
from traceback import clear_frames

import structlog
import torch

from nas_service.domain.architecture import Architecture, TaskShape
from nas_service.domain.search import Recipe
from workers.training.memory import FREE_SHARE, fitting_batch, free_bytes, predicted_peak_bytes, resident_bytes
from workers.training.precision import precision_of
from workers.training.train import ShouldStop, Stopped

log = structlog.get_logger()

LOOK_SECONDS = 0.01  # between looks at what is free


class Room:
    """What is free on one device, and what was promised of it. Slots may use it at once."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._promised: dict[object, int] = {}  # bytes, by trial
        self._queue: list[object] = []  # trials that wait for memory; only the first one takes some
        self._resident_when_empty = 0

    def free(self) -> int | None:
        """Bytes for one more trial: free, and not promised to those that train. None where it cannot be told."""
        free = free_bytes(self._device)
        if free is None:
            return None
        return max(0, free - max(0, sum(tuple(self._promised.values())) - self._held()))

    def another_fits(self) -> bool:
        """Whether there is memory for one more trial like the largest of those that train."""
        return self._has(max(tuple(self._promised.values()), default=0))

    @contextmanager
    def reserve(
        self, architecture: Architecture, shape: TaskShape, recipe: Recipe, should_stop: ShouldStop
    ) -> Iterator[int]:
        """Promise a trial its memory while the block lasts; gives how many examples to compute at once.

        Where whole batches do not fit beside the trials of the other slots it waits until they do, or until it is
        alone: smaller parts would make its result depend on its neighbours. First come, first served, so that small
        trials do not pass a large one for ever.

        Raises:
            DoesNotFit: when an eighth of a batch does not fit although no other slot trains.
            Stopped: when `should_stop` said so.
        """
        precision, trial = precision_of(recipe, self._device), object()

        def need(at_once: int) -> int:
            in_parts = at_once < recipe.batch_size
            return predicted_peak_bytes(architecture, shape, recipe.replicates, at_once, precision, in_parts=in_parts)

        def must_wait() -> bool:
            if self._queue[0] is not trial:
                return True
            return bool(self._promised) and not self._has(need(recipe.batch_size))

        self._queue.append(trial)
        try:
            if must_wait():
                log.info("waiting for memory that other slots use", gigabytes=round(need(recipe.batch_size) / 1e9, 1))
            while must_wait():
                if should_stop():
                    raise Stopped(0)
                sleep(LOOK_SECONDS)
            at_once = recipe.batch_size
            if not self._promised:
                self._resident_when_empty = resident_bytes()
                at_once = fitting_batch(architecture, shape, recipe, precision, self._device)
            self._promised[trial] = need(at_once)
        finally:
            self._queue.remove(trial)
        try:
            yield at_once
        except BaseException as error:
            clear_frames(error.__traceback__)  # they hold tensors, whose memory is about to be promised to others
            raise
        finally:
            del self._promised[trial]

    def _has(self, need: int) -> bool:
        free = self.free()
        return free is None or need < FREE_SHARE * free

    def _held(self) -> int:
        """Bytes of the promised that the trials have taken already; 0, the careful answer, where it cannot be told."""
        if self._device.type == "cuda":
            return torch.cuda.memory_allocated(self._device)
        return max(0, resident_bytes() - self._resident_when_empty)
