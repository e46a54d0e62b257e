"""Keeps a lease alive from a second thread while the first one trains, and carries the news both ways.

Training never waits for the network: reports are collected here and sent at once, and again with the next heartbeat
where that failed. What the server says (stop, lost) is there for the training loop to look at.
"""

import threading
from typing import Literal

import structlog

from nas_service.client import ApiError, LeaseLost, NotAllowed, ServerUnreachable, WorkerClient
from nas_service.messages import MAX_REPORTS, EpochReport, Lease, Report
from workers.errand import Errand

log = structlog.get_logger()

Order = Literal["early", "paused", "cancelled", "lost"]


class Heartbeat(Errand):
    """Keeps one lease."""

    def __init__(self, client: WorkerClient, lease: Lease) -> None:
        super().__init__(f"heartbeat of trial {lease.trial_id}")
        self._client = client
        self._lease = lease
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._news: list[EpochReport] = []
        self._step = 0
        self._order: Order | None = None

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

    def _run(self) -> None:
        while True:
            self._wake.wait(self._lease.heartbeat_seconds)
            self._wake.clear()
            if self._ended.is_set():
                return  # the result is in, or the trial was given back: there is no lease to keep alive
            self.send()

    def send(self) -> bool:
        """Send one heartbeat with all news so far; returns whether they arrived."""
        with self._sending:
            return self._send()

    def flush(self) -> None:
        """Return when all news so far have been sent, or cannot be."""
        with self._sending:
            while self._news and self._send():
                pass

    def _send(self) -> bool:
        with self._lock:
            news, step = self._news[:MAX_REPORTS], self._step  # after a long outage there may be more
            self._news = self._news[MAX_REPORTS:]
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
