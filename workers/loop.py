"""The pull loop: ask for a trial, train it, hand it in, again. Speaks HTTP only, so it runs anywhere.

The main thread asks, for one free slot after the other; each slot trains in a thread of its own (why:
docs/decisions/0005).
"""

import os
import platform
import signal
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from queue import Empty, SimpleQueue
from secrets import token_hex
from time import monotonic, sleep
from typing import TypeVar

import structlog
import torch
from pydantic import SecretStr
from structlog.contextvars import bound_contextvars

from nas_service.client import ApiError, NotAllowed, ServerUnreachable, WorkerClient
from nas_service.messages import Lease, LeaseRequest, WorkerInfo
from workers.bookshelf import Bookshelf
from workers.outbox import Outbox
from workers.room import Room
from workers.slots import MOST_SLOTS, AutoSlots, Pace
from workers.training.memory import keep_memory_compact
from workers.trial import work_on

log = structlog.get_logger()

Answer = TypeVar("Answer")

WAIT_SECONDS = 20.0  # how long the server may hold a request for a trial
PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.2, 5.0  # between calls to a server that is away
LOOK_SECONDS = 0.5  # between looks at what else there is to do while every slot trains


@dataclass(frozen=True)
class WorkerOptions:
    """How one worker runs."""

    server: str
    api_key: SecretStr | None = None
    data_dir: Path | None = None  # where datasets are
    fetch_datasets: bool = True  # whether MNIST and its like may be downloaded
    device: str = "auto"  # auto, cpu, cuda, cuda:1, mps
    threads: int = 1  # torch threads of a slot; two beside another busy process are many times slower
    slots: int | None = 1  # trials at once; None finds the number
    name: str = field(default_factory=lambda: f"{platform.node()}-{os.getpid()}")
    labels: dict[str, str] = field(default_factory=dict)
    exit_when_idle: float | None = None  # seconds without a trial after which it ends
    parent_pid: int | None = None  # ends with this process
    outbox: Path | None = None  # where results wait for the server; in memory without it


class _Interrupted(BaseException):
    """A signal ended the wait for a trial; not an error, so no handler of errors may catch it."""


class Worker:
    """Trains trials, one in each slot, until told to stop."""

    def __init__(self, options: WorkerOptions) -> None:
        keep_memory_compact()
        self._options = options
        self._id = token_hex(8)
        self._device = pick_device(options.device)
        self._shelf = Bookshelf(options.data_dir, options.fetch_datasets)
        self._client = WorkerClient(options.server, options.api_key)
        self._outbox = Outbox(options.outbox)
        self._room = Room(self._device)
        self._pace = Pace()
        self._auto = AutoSlots(most_slots(self._device)) if options.slots is None else None
        self._threads = ThreadPoolExecutor(MOST_SLOTS, thread_name_prefix="slot")
        self._streams: dict[int, torch.cuda.Stream] = {}
        self._training: dict[int, Future[None]] = {}  # by slot
        self._ended: SimpleQueue[tuple[int, float]] = SimpleQueue()  # slots whose trial ended, and when
        self._idle_since = monotonic()
        self._stopping = self._waiting = False  # plain flags: a signal's handler must not wait for a lock

    def run(self) -> None:
        """Work until SIGTERM, SIGINT, the end of the parent, or idleness.

        Raises:
            NotAllowed: when the server refuses the API key while no trial is held.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        names = {"worker": self._options.name, "server": self._options.server, "device": str(self._device)}
        log.info("worker started", **names, slots=self._options.slots or "auto")
        self._idle_since = monotonic()
        try:
            with suppress(_Interrupted):
                self._unless_interrupted(self._deliver_what_was_left)
                self._pull()
        finally:
            self._stopping = True
            self._threads.shutdown()  # returns when every slot has given its trial back
            self._say_goodbye()
            self._outbox.close()
            log.info("worker stopped", worker=self._options.name)

    def _deliver_what_was_left(self) -> None:
        """First of all: the leases of these results do not live long."""
        for kept in self._outbox.left(self._client.server):
            log.info("delivering what an earlier worker left", trial=kept.letter.trial_id)
            self._outbox.deliver(self._client, kept, lambda: self._should_end() or self._idle_too_long())

    def _pull(self) -> None:
        pause, request = PAUSE_SECONDS, None
        while not self._should_end():
            slot = self._free_slot()
            if slot is None:
                continue
            request, asked_at = request or self._request(), monotonic()
            try:
                lease = self._unless_interrupted(partial(self._client.lease, request))
            except (ServerUnreachable, ApiError) as error:
                if isinstance(error, NotAllowed) and not self._training:
                    raise  # a key that is refused stays refused
                if self._idle_too_long():
                    return
                log.warning("no lease, trying again", error=str(error))
                self._unless_interrupted(partial(sleep, pause))
                pause = min(2 * pause, MAX_PAUSE_SECONDS)
                continue  # with the same request: a lease whose answer was lost is not lost
            pause, request = PAUSE_SECONDS, None
            if monotonic() - asked_at > LOOK_SECONDS:
                self._pace.restart()  # the slot had nothing to train for a while, so the pace says nothing
            if lease is not None:
                self._start(slot, lease)
            elif self._idle_too_long():
                return

    def _free_slot(self) -> int | None:
        """A slot to ask a trial for; None when all train, after waiting a moment for one to end."""
        wait = LOOK_SECONDS if len(self._training) >= self._slots else 0
        with suppress(Empty):
            while True:
                slot, self._idle_since = self._ended.get(timeout=wait)
                self._training.pop(slot).result()  # raises what no trial should have raised: then the worker ends
                wait = 0
        self._adapt()
        return next((slot for slot in range(self._slots) if slot not in self._training), None)

    @property
    def _slots(self) -> int:
        return self._options.slots or (self._auto.slots if self._auto else 1)

    def _adapt(self) -> None:
        """With `--slots auto`: let what was measured change the number of slots."""
        if self._auto is None:
            return
        before = self._auto.slots
        if len(self._training) > before:  # a slot that was given up still trains, and slows down the others
            self._pace.restart()
        if (measured := self._pace.measured(before)) is not None:
            slots = self._auto.decide(measured, self._room.another_fits())
            self._pace.restart()
            if slots != before:
                log.info("slots changed", slots=slots, before=before, throughput=f"{measured.throughput:.3g}")

    def _start(self, slot: int, lease: Lease) -> None:
        self._training[slot] = self._threads.submit(self._train, slot, lease)
        self._training[slot].add_done_callback(lambda _: self._ended.put((slot, monotonic())))

    def _train(self, slot: int, lease: Lease) -> None:
        torch.set_num_threads(self._options.threads)  # every thread has a number of its own
        with bound_contextvars(**({} if self._options.slots == 1 else {"slot": slot})), self._stream_of(slot):
            log.info("training", search=lease.search_id, arm=lease.arm, trial=lease.trial_id, number=lease.number)
            work_on(
                lease,
                self._client,
                self._shelf,
                self._device,
                self._should_end,
                self._room,
                lambda images, macs: self._pace.note(slot, images, macs, monotonic()),
                self._outbox,
            )

    def _stream_of(self, slot: int) -> AbstractContextManager[object]:
        """On CUDA the slot's own stream: what several slots start runs side by side."""
        if self._device.type != "cuda":
            return nullcontext()
        if slot not in self._streams:
            self._streams[slot] = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return torch.cuda.stream(self._streams[slot])

    def _idle_too_long(self) -> bool:
        limit, idle = self._options.exit_when_idle, monotonic() - self._idle_since
        if limit is None or self._training or idle < limit:
            return False
        log.info("nothing to train, ending", idle_seconds=round(idle))
        return True

    def _unless_interrupted(self, wait: Callable[[], Answer]) -> Answer:
        """Call what may last; a signal ends it. A lease granted meanwhile goes back with the goodbye."""
        self._waiting = True
        try:
            if self._stopping:  # the signal came before this
                raise _Interrupted
            return wait()
        finally:
            self._waiting = False

    def _on_signal(self, *_: object) -> None:
        self._stopping = True
        if self._waiting:
            self._waiting = False
            raise _Interrupted

    def _request(self) -> LeaseRequest:
        info = WorkerInfo(
            id=self._id,
            name=self._options.name,
            device=device_name(self._device),
            memory_bytes=self._room.free(),
            slots=self._slots,
            labels=self._options.labels,
            version=version("hourglass-nas"),
            datasets=self._shelf.offered,
            problems=self._shelf.problems,
        )
        wait = WAIT_SECONDS
        if (limit := self._options.exit_when_idle) is not None:
            wait = min(wait, max(limit, LOOK_SECONDS) if self._training else limit)
        return LeaseRequest(request_id=token_hex(16), worker=info, wait_seconds=wait)

    def _should_end(self) -> bool:
        return self._stopping or self._options.parent_pid not in (None, os.getppid())

    def _say_goodbye(self) -> None:
        """Leave, unless a result still waits: a goodbye would give its trial to another worker."""
        try:
            if self._outbox.holds_back:
                return
            self._client.say_goodbye(self._id)
        except (ServerUnreachable, ApiError) as error:
            if not isinstance(error, NotAllowed):  # who ends because its key was refused has said so
                log.info("ended without a goodbye", error=str(error))
        finally:
            self._client.close()


def most_slots(device: torch.device) -> int:
    """How far `auto` may go: on a CPU a worker for each core does what slots would, without sharing Python's lock."""
    return MOST_SLOTS if device.type == "cuda" else 1


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
