"""Keeps a lease alive from a second thread while the first one trains, and carries the news both ways.

Training never waits for the network: reports are collected here and sent at once, and again with the next heartbeat
where that failed. What the server says (stop, lost) is there for the training loop to look at.
"""

import threading
from contextvars import copy_context
from types import TracebackType
from typing import Literal, Self

import structlog

from nas_service.client import ApiError, LeaseLost, NotAllowed, ServerUnreachable, WorkerClient
from nas_service.messages import EpochReport, Lease, Report

log = structlog.get_logger()

Order = Literal["early", "paused", "cancelled", "lost"]


class Heartbeat:
    """The thread of one lease; a context manager."""

    def __init__(self, client: WorkerClient, lease: Lease) -> None:
        self._client = client
        self._lease = lease
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._news: list[EpochReport] = []
        self._step = 0
        self._order: Order | None = None
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(
            target=copy_context().run,  # its log lines name the slot, too
            args=(self._beat,),
            name=f"heartbeat of trial {lease.trial_id}",
            daemon=True,
        )

    @property
    def order(self) -> Order | None:
        """Why training should stop now; None to go on."""
        return self._order

    def note_epoch(self, training: int, epoch: int, metrics: dict[str, float]) -> None:
        """Queue the metrics of an epoch for the server; they leave at once."""
        with self._lock:
            self._step += 1
            self._news.append(EpochReport(training=training, epoch=epoch, metrics=metrics))
        self._wake.set()

    def note_step(self) -> None:
        """Note that training moved; goes with the next heartbeat."""
        self._step += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._wake.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.is_set():
            self._wake.wait(self._lease.heartbeat_seconds)
            self._wake.clear()
            self.send()

    def send(self) -> bool:
        """Send one heartbeat with all news so far; returns whether they arrived."""
        with self._sending:
            return self._send()

    def flush(self) -> None:
        """Return when all news so far have been sent, or cannot be."""
        with self._sending:
            if self._news:
                self._send()

    def _send(self) -> bool:
        with self._lock:
            news, step = self._news, self._step
            self._news = []
        try:
            answer = self._client.report(self._lease, Report(step=step, reports=news))
        except (LeaseLost, NotAllowed) as error:  # who comes back with another key has lost it, too
            log.warning("lease lost", trial=self._lease.trial_id, why=str(error))
            self._order = "lost"
        except (ApiError, ServerUnreachable) as error:
            log.warning("heartbeat failed, going on", trial=self._lease.trial_id, error=str(error))
            with self._lock:
                self._news = [*news, *self._news]  # they go with the next one
        else:
            if answer.action == "stop":
                self._order = answer.reason
            return True
        return False
