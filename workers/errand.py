"""A thread beside the training of one trial, begun and ended with it: the heartbeat, the courier of checkpoints."""

import threading
from abc import ABC, abstractmethod
from contextvars import copy_context
from types import TracebackType
from typing import Self


class Errand(ABC):
    """Runs `_run` while the block lasts; `_wake` and `_ended` are set at its end."""

    def __init__(self, name: str) -> None:
        self._wake = threading.Event()  # there is something to do
        self._ended = threading.Event()
        # with a copy of the context, so that its log lines name the slot, too
        self._thread = threading.Thread(target=copy_context().run, args=(self._run,), name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._wake.set()
        self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Work until `_ended`."""
