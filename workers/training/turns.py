"""Gives one worker of this machine a device to itself for a moment, while the others hold still.

Two files in the temporary folder are locked with flock(2), which the kernel undoes when a process ends:

    work   shared by all that train on the device, exclusive while one measures
    gate   exclusive while one measures or waits for it; those that train look every few steps and step aside

It binds workers of this program that see the same temporary folder. Leaves out all else that may disturb a measurement:
other programs, other containers, the machine's other devices, a worker that reads a dataset.
"""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import structlog
import torch

from workers.training.train import ShouldStop

log = structlog.get_logger()

LOOK_SECONDS = 0.01  # between looks at a lock
MEASURERS_SECONDS = 600.0  # others that measure first may take so long
OTHERS_SECONDS = 120.0  # trainings may take so long to step aside, and wait so long for a measurement


class DeviceBusy(RuntimeError):
    """The device could not be had alone in time."""


class Turns:
    """This worker's part in sharing a device."""

    def __init__(self, device: torch.device, folder: Path | None = None) -> None:
        """Take no part yet.

        Args:
            device: what is shared.
            folder: where the lock files are; None for the machine's temporary folder.
        """
        self._stem = Path(folder or tempfile.gettempdir()) / f"hourglass-{_key(device)}"
        self._gate = self._work = -1
        self._tired = False  # waited too long for a measurement and goes on until it has ended

    @contextmanager
    def training(self, should_stop: ShouldStop) -> Iterator[None]:
        """Count as one that trains while the block lasts."""
        self._gate, self._work = _open(self._stem.with_suffix(".gate")), _open(self._stem.with_suffix(".work"))
        try:
            self.step_aside(should_stop)
            yield
        finally:
            os.close(self._gate)  # unlocks it too
            os.close(self._work)

    def step_aside(self, should_stop: ShouldStop) -> None:
        """Wait while somebody measures; returns at once when nobody does, or when told to stop."""
        deadline = monotonic() + OTHERS_SECONDS
        while not _try_lock(self._gate, fcntl.LOCK_SH):
            if self._tired or should_stop():
                return
            fcntl.flock(self._work, fcntl.LOCK_UN)
            if monotonic() > deadline:
                log.warning("a measurement does not end, training on", lock=str(self._stem), seconds=OTHERS_SECONDS)
                self._tired = True
                return
            sleep(LOOK_SECONDS)
        self._tired = False
        _try_lock(self._work, fcntl.LOCK_SH)  # nobody has it alone while the gate is open
        fcntl.flock(self._gate, fcntl.LOCK_UN)

    @contextmanager
    def alone(self, check: Callable[[], None]) -> Iterator[None]:
        """Have the device alone while the block lasts, inside of `training`, whose part ends with it.

        Args:
            check: called again and again while waiting; may raise.

        Raises:
            DeviceBusy: when that could not be had in time.
        """
        fcntl.flock(self._work, fcntl.LOCK_UN)
        try:
            _lock(self._gate, MEASURERS_SECONDS, check)
            _lock(self._work, OTHERS_SECONDS, check)
            yield
        finally:
            fcntl.flock(self._work, fcntl.LOCK_UN)
            fcntl.flock(self._gate, fcntl.LOCK_UN)


def _key(device: torch.device) -> str:
    """A name of the device that all workers of the machine agree on."""
    if device.type != "cuda":
        return device.type
    return f"cuda-{torch.cuda.get_device_properties(device).uuid}"  # the index depends on CUDA_VISIBLE_DEVICES


def _open(path: Path) -> int:
    """Open the file for locking, for which reading is enough: it may be another user's."""
    try:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CREAT, 0o644)


def _lock(file: int, seconds: float, check: Callable[[], None]) -> None:
    deadline = monotonic() + seconds
    while not _try_lock(file, fcntl.LOCK_EX):
        check()
        if monotonic() > deadline:
            raise DeviceBusy(f"this machine's other workers did not let a cost be measured within {seconds:.0f} s")
        sleep(LOOK_SECONDS)


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
