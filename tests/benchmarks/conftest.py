"""Threads in place of the benchmarks' processes: each of those would import torch for seconds."""

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

import pytest
import torch

from benchmarks import arithmetic, equality, published, trainer, turns


class ThreadContext:
    """What `multiprocessing.get_context` gives, as far as it is used."""

    def Pipe(self) -> tuple[Connection, Connection]:
        return Pipe()

    def Process(self, target: Callable[..., None], args: tuple[Any, ...], daemon: bool) -> "ThreadProcess":
        connection, *rest = args
        own = Connection(os.dup(connection.fileno()))  # a process has its own handle, which the parent cannot close
        return ThreadProcess(target, (own, *rest), daemon)


class ThreadProcess(threading.Thread):
    def __init__(self, target: Callable[..., None], args: tuple[Any, ...], daemon: bool) -> None:
        super().__init__(target=self._work, args=(target, args), daemon=daemon)

    def terminate(self) -> None:
        raise AssertionError("the process did not end by itself")

    @staticmethod
    def _work(target: Callable[..., None], args: tuple[Any, ...]) -> None:
        with args[0]:
            target(*args)


@pytest.fixture
def threads_for_processes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = torch.get_num_threads()
    monkeypatch.setattr(turns, "get_context", lambda _: ThreadContext())
    monkeypatch.setattr(arithmetic, "SAMPLE_SECONDS", 1e-4)
    for module in (trainer, published, equality):
        monkeypatch.setattr(module, "ProcessPoolExecutor", lambda processes, **_: ThreadPoolExecutor(processes))
    yield
    torch.set_num_threads(before)
