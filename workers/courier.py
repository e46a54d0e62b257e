"""Takes a trial's checkpoints to the server from a thread of its own, for which nothing else waits."""

import threading

import structlog

from nas_service.client import ApiError, ServerUnreachable, WorkerClient
from nas_service.messages import Lease
from workers.errand import Errand
from workers.heartbeat import Heartbeat
from workers.training.checkpoint import Checkpoint

log = structlog.get_logger()


class Courier(Errand):
    """Sends the newest checkpoint of a leased trial, as often as the lease says."""

    def __init__(self, client: WorkerClient, lease: Lease, heartbeat: Heartbeat) -> None:
        super().__init__(f"checkpoints of trial {lease.trial_id}")
        self._client = client
        self._lease = lease
        self._heartbeat = heartbeat
        self._newest: Checkpoint | None = None  # not sent yet
        self._sending = threading.Lock()

    def note(self, checkpoint: Checkpoint) -> None:
        """Take the state of the trial after an epoch, in place of the one before."""
        self._newest = checkpoint
        self._wake.set()

    def send(self) -> None:
        """Send the newest checkpoint unless it was sent, after its reports. One that fails is left to the next."""
        with self._sending:
            self._wake.clear()
            checkpoint, self._newest = self._newest, None
            if checkpoint is None or not self._heartbeat.send():
                return
            try:
                self._client.send_checkpoint(self._lease, checkpoint.to_bytes())
            except (ApiError, ServerUnreachable) as error:
                log.warning("checkpoint not sent, going on", trial=self._lease.trial_id, error=str(error))

    def _run(self) -> None:
        while not self._ended.wait(self._lease.checkpoint_seconds):
            self._wake.wait()
            if not self._ended.is_set():
                self.send()
