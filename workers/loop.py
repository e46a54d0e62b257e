"""The pull loop: ask for a trial, train it, hand it in, again. Speaks HTTP only, so it runs anywhere."""

import os
import platform
import signal
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from secrets import token_hex
from time import monotonic

import structlog
import torch

from nas_service.client import ApiError, ServerUnreachable, WorkerClient
from nas_service.messages import Lease, LeaseRequest, WorkerInfo
from workers.bookshelf import Bookshelf
from workers.training.memory import free_bytes, keep_memory_compact
from workers.trial import work_on

log = structlog.get_logger()

WAIT_SECONDS = 20.0  # how long the server may hold a request for a trial
MAX_PAUSE_SECONDS = 5.0  # between calls to a server that is away


@dataclass(frozen=True)
class WorkerOptions:
    """How one worker runs."""

    server: str
    data_dir: Path | None = None  # where datasets are
    fetch_datasets: bool = True  # whether MNIST and its like may be downloaded
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    threads: int = 1  # torch threads; two beside another busy process are many times slower
    name: str = field(default_factory=lambda: f"{platform.node()}-{os.getpid()}")
    labels: dict[str, str] = field(default_factory=dict)
    exit_when_idle: float | None = None  # seconds without a trial after which it ends
    parent_pid: int | None = None  # ends with this process


class _Interrupted(BaseException):
    """A signal ended the wait for a trial; not an error, so no handler of errors may catch it."""


class Worker:
    """Trains one trial after the other until told to stop."""

    def __init__(self, options: WorkerOptions) -> None:
        torch.set_num_threads(options.threads)
        keep_memory_compact()
        self._options = options
        self._id = token_hex(8)
        self._device = pick_device(options.device)
        self._shelf = Bookshelf(options.data_dir, options.fetch_datasets)
        self._client = WorkerClient(options.server)
        self._stop = threading.Event()
        self._waiting = False

    def run(self) -> None:
        """Work until SIGTERM, SIGINT, the end of the parent, or idleness."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        log.info("worker started", worker=self._options.name, server=self._options.server, device=str(self._device))
        try:
            with suppress(_Interrupted):
                self._pull()
        finally:
            self._say_goodbye()
            log.info("worker stopped", worker=self._options.name)

    def _pull(self) -> None:
        idle_since, pause = monotonic(), 0.2
        request = self._request()
        while not self._should_end():
            try:
                lease = self._ask(request)
            except (ServerUnreachable, ApiError) as error:
                if self._idle_too_long(idle_since):
                    return
                log.warning("no lease, trying again", error=str(error))
                self._stop.wait(pause)  # the same request again: a lease whose answer was lost is not lost
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
                continue
            pause = 0.2
            if lease is not None:
                self._train(lease)
                idle_since = monotonic()
            elif self._idle_too_long(idle_since):
                return
            request = self._request()

    def _idle_too_long(self, since: float) -> bool:
        limit, idle = self._options.exit_when_idle, monotonic() - since
        if limit is None or idle < limit:
            return False
        log.info("nothing to train, ending", idle_seconds=round(idle))
        return True

    def _ask(self, request: LeaseRequest) -> Lease | None:
        self._waiting = True
        try:
            return self._client.lease(request)
        finally:
            self._waiting = False

    def _on_signal(self, *_: object) -> None:
        self._stop.set()
        if self._waiting:  # the call may last; a lease granted meanwhile goes back with the goodbye
            self._waiting = False
            raise _Interrupted

    def _train(self, lease: Lease) -> None:
        log.info("training", search=lease.search_id, arm=lease.arm, trial=lease.trial_id, number=lease.number)
        work_on(lease, self._client, self._shelf, self._device, self._should_end)

    def _request(self) -> LeaseRequest:
        info = WorkerInfo(
            id=self._id,
            name=self._options.name,
            device=device_name(self._device),
            memory_bytes=free_bytes(self._device),
            labels=self._options.labels,
            version=version("hourglass-nas"),
            datasets=self._shelf.offered,
            problems=self._shelf.problems,
        )
        limit = self._options.exit_when_idle
        wait = WAIT_SECONDS if limit is None else min(WAIT_SECONDS, limit)
        return LeaseRequest(request_id=token_hex(16), worker=info, wait_seconds=wait)

    def _should_end(self) -> bool:
        return self._stop.is_set() or self._options.parent_pid not in (None, os.getppid())

    def _say_goodbye(self) -> None:
        try:
            self._client.say_goodbye(self._id)
        except (ServerUnreachable, ApiError) as error:
            log.info("ended without a goodbye", error=str(error))
        self._client.close()


def pick_device(wish: str) -> torch.device:
    """The device of that name; `auto` takes a GPU where there is one."""
    if wish != "auto":
        return torch.device(wish)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """What people call the device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"
