"""Rivals that take turns: their processes stay alive and parked, and one rival at a time is measured.

So a machine that drifts or is shared hits all rivals alike, and nobody pays for starting up. A process is parked
between two training steps by its `Pacer`, which the training loop calls as its own hook. Leaves out what is trained.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any

from benchmarks.machine import busy_seconds

READY = "ready"
HEAD_START_SECONDS = 0.2  # between the order and the start of a turn, so that all its processes start together
PATIENCE_SECONDS = 600  # for a process to start, warm up or end its turn


@dataclass(frozen=True)
class Turn:
    """When to measure, in seconds of the monotonic clock, which all processes share."""

    start: float
    deadline: float


@dataclass(frozen=True)
class Lap:
    """What one process did in a turn."""

    steps: int
    seconds: float  # of these steps
    cpu_seconds: float  # of the whole turn, all threads


@dataclass(frozen=True)
class Heat:
    """What a rival did in a turn."""

    laps: list[Lap]  # one a process
    other_cores: float | None  # that other programs kept busy meanwhile; None where nobody says

    @property
    def steps_per_second(self) -> float:
        """The rate of all processes together."""
        return sum(lap.steps / lap.seconds for lap in self.laps)


class Pacer:
    """The hook of a process: parks it between turns and counts what it does within one.

    Work that lies across the deadline is not counted, unless the turn has nothing else.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._turn: Turn | None = None
        self._steps, self._seconds, self._since, self._cpu = 0, 0.0, 0.0, 0.0

    def tick(self, steps: int) -> bool:
        """Say that so many steps were done since the last tick; whether the process shall end.

        Args:
            steps: 0 when the time since the last tick was spent otherwise and does not count.
        """
        now = time.monotonic()
        if self._turn is not None:
            if steps and (now <= self._turn.deadline or not self._steps):
                self._steps += steps
                self._seconds += now - self._since
            if now > self._turn.deadline and self._steps:
                self._connection.send(Lap(self._steps, self._seconds, time.process_time() - self._cpu))
                self._turn = None
        if self._turn is None and not self._await_turn():
            return True
        self._since = time.monotonic()
        return False

    def _await_turn(self) -> bool:
        """Park until the next turn starts; False when there is none."""
        try:
            turn: Turn = self._connection.recv()
        except (EOFError, ConnectionError):  # the parent has seen enough
            return False
        time.sleep(max(0.0, turn.start - time.monotonic()))
        self._turn, self._steps, self._seconds, self._cpu = turn, 0, 0.0, time.process_time()
        return True


class Rival:
    """Processes that are measured together."""

    def __init__(self, name: str, work: Callable[..., None], arguments: list[tuple[Any, ...]]) -> None:
        """Start one process for each tuple of arguments; `work` gets its connection to us, then those."""
        self.name = name
        self.facts: list[Any] = []  # what each process said when it was ready
        context = get_context("spawn")
        self._connections: list[Connection] = []
        self._processes: list[SpawnProcess] = []
        for given in arguments:
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, *given), daemon=True)
            process.start()
            theirs.close()  # so that the end of the process is the end of the pipe
            self._connections.append(ours)
            self._processes.append(process)

    def warm_up(self) -> None:
        """Let all processes warm up at once and wait until each is ready.

        Raises:
            RuntimeError: when one of them died.
        """
        for connection in self._connections:
            self._receive(connection)  # it has loaded its data
        for connection in self._connections:
            self._send(connection, READY)
        self.facts = [self._receive(connection) for connection in self._connections]

    def take_turn(self, seconds: float, processes: int | None = None) -> Heat:
        """Let the first so many processes, or all, train for that long.

        Raises:
            RuntimeError: when one of them died.
        """
        taking, busy = self._connections[:processes], busy_seconds()
        start = time.monotonic() + HEAD_START_SECONDS
        for connection in taking:
            self._send(connection, Turn(start, start + seconds))
        laps = [self._receive(connection) for connection in taking]
        return Heat(laps, _other_cores(laps, busy, time.monotonic() - start))

    def end(self) -> None:
        """End all processes."""
        for connection in self._connections:
            connection.close()
        for process in self._processes:
            process.join(timeout=10)
            if process.is_alive():
                process.terminate()

    def _send(self, connection: Connection, message: Any) -> None:
        try:
            connection.send(message)
        except ConnectionError as error:
            raise RuntimeError(f"a process of {self.name} ended; its traceback is above") from error

    def _receive(self, connection: Connection) -> Any:
        try:
            if connection.poll(PATIENCE_SECONDS):
                return connection.recv()
        except (EOFError, ConnectionError) as error:
            raise RuntimeError(f"a process of {self.name} ended; its traceback is above") from error
        raise RuntimeError(f"a process of {self.name} did not answer for {PATIENCE_SECONDS} s")


def _other_cores(laps: list[Lap], busy_before: float | None, seconds: float) -> float | None:
    busy = busy_seconds()
    if busy is None or busy_before is None:
        return None
    ours = sum(lap.cpu_seconds for lap in laps)
    return max(0.0, (busy - busy_before - ours) / seconds)
