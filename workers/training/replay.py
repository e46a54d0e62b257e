"""A step of training that a GPU replays: recorded once for each network, started by one call instead of hundreds.

What changes from step to step (items, epoch, learning rate) goes through tensors that stay where they are; what the
step adds up (weights, moments, statistics, losses) stays where it is anyway. A CPU calls the step as it is: it gains
nothing from a recording. Source: "CUDA Graphs" in PyTorch's notes on CUDA semantics.

R: replicates, B: batch.
"""

import threading
from collections.abc import Callable

import structlog
import torch
from torch import Tensor

log = structlog.get_logger()

Step = Callable[[Tensor, int | Tensor, float | Tensor], None]  # items (R, B), epoch, learning rate
Record = Callable[[Callable[[], None], torch.device], Callable[[], None]]

WARM_UP = 3  # steps before the recording: what is made at first use is made, and libraries have chosen their kernels

_recording = threading.Lock()  # one at a time in a process, whose other slots go on training


def record_cuda_graph(compute: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """Record what `compute` starts on the device, without doing it; the answer does it.

    Raises:
        RuntimeError: when something in it cannot be recorded.
    """
    graph = torch.cuda.CUDAGraph()
    with _recording:
        # A stream of its own, and an error mode that lets other threads allocate meanwhile.
        stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            compute()
    return graph.replay


class ReplayedStep:
    """Calls a step as it is at first, then its recording; where none can be made, as it is for good."""

    def __init__(self, step: Step, device: torch.device, record: Record = record_cuda_graph) -> None:
        """Wrap a step.

        Args:
            step: works on tensors alone and never waits for the device.
            device: where its tensors are.
            record: makes the recording.
        """
        self._step, self._device, self._record = step, device, record
        self._epoch = torch.zeros((), dtype=torch.int64, device=device)
        self._rate = torch.zeros((), device=device)
        self._items: Tensor | None = None  # (R, B)
        self._replay: Callable[[], None] | None = None
        self._warm_ups = 0
        self._given_up = False

    def __call__(self, items: Tensor, epoch: int | Tensor, rate: float | Tensor) -> None:
        """Train on one batch (R, B)."""
        if self._items is None:
            self._items = items.clone()
        if self._given_up or items.shape != self._items.shape:  # the last batch of an epoch may be smaller
            self._step(items, epoch, rate)
            return
        self._items.copy_(items)
        self._epoch.fill_(epoch)
        self._rate.fill_(rate)
        if self._warm_ups < WARM_UP:
            self._warm_ups += 1
            self._step(self._items, self._epoch, self._rate)
            return
        if self._replay is None and (recorded := self._recorded(self._items)) is not None:
            self._replay = recorded
        if self._replay is None:
            self._step(items, epoch, rate)
        else:
            self._replay()

    def _recorded(self, items: Tensor) -> Callable[[], None] | None:
        try:
            return self._record(lambda: self._step(items, self._epoch, self._rate), self._device)
        except RuntimeError as error:
            self._given_up = True
            log.warning("the step cannot be recorded, training without", error=str(error))
            return None


def replayed(step: Step, device: torch.device) -> Step:
    """The fastest way to call a step on that device."""
    return ReplayedStep(step, device) if device.type == "cuda" else step
