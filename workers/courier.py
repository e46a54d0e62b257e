"""Takes a trial's checkpoints to the server from a thread of its own, for which nothing else waits."""

import threading
from contextvars import copy_context
from types import TracebackType
from typing import Self

import structlog

from nas_service.client import ApiError, ServerUnreachable, WorkerClient
from nas_service.messages import Lease
from workers.heartbeat import Heartbeat
from workers.training.checkpoint import Checkpoint

log = structlog.get_logger()


class Courier:
    """Sends the newest checkpoint of a leased trial, as often as the lease says; a context manager."""

    def __init__(self, client: WorkerClient, lease: Lease, heartbeat: Heartbeat) -> None:
        self._client = client
        self._lease = lease
        self._heartbeat = heartbeat
        self._newest: Checkpoint | None = None  # not sent yet
        self._is_new = threading.Event()
        self._ended = threading.Event()
        self._sending = threading.Lock()
        self._thread = threading.Thread(
            target=copy_context().run,  # its log lines name the slot, too
            args=(self._carry,),
            name=f"checkpoints of {lease.trial_id}",
            daemon=True,
        )

    def note(self, checkpoint: Checkpoint) -> None:
        """Take the state of the trial after an epoch, in place of the one before."""
        self._newest = checkpoint
        self._is_new.set()

    def send(self) -> None:
        """Send the newest checkpoint unless it was sent, after its reports. One that fails is left to the next."""
        with self._sending:
            self._is_new.clear()
            checkpoint, self._newest = self._newest, None
            if checkpoint is None or not self._heartbeat.send():
                return
            try:
                self._client.send_checkpoint(self._lease, checkpoint.to_bytes())
            except (ApiError, ServerUnreachable) as error:
                log.warning("checkpoint not sent, going on", trial=self._lease.trial_id, error=str(error))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._is_new.set()
        self._thread.join()

    def _carry(self) -> None:
        while not self._ended.wait(self._lease.checkpoint_seconds):
            self._is_new.wait()
            if not self._ended.is_set():
                self.send()
