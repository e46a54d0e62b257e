"""The embedded service as a child of this process: started, waited for, stopped with it, even when it is killed."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import BinaryIO

from nas_service.client import Client
from nas_service.settings import Settings

Service = subprocess.Popen[str]


@contextmanager
def running_service(home: Path, workers: int | None, port: int | None = None) -> Iterator[tuple[Service, Client]]:
    """Run `hourglass up` on that folder; its log is HOME/service.log. From now on SIGTERM is a KeyboardInterrupt here.

    Raises:
        SystemExit: when it does not start; the message says why.
    """
    home.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, _as_interrupt)
    with (home / "service.log").open("ab") as log:
        service = _start(home, workers, port, log)
        try:
            with Client(_wait_for_url(service, home), Settings().api_key) as client:
                yield service, client
        finally:
            service.terminate()
            service.wait()


def _start(home: Path, workers: int | None, port: int | None, log: BinaryIO) -> Service:
    from nas_service.cli.embedded import hourglass_command

    command = [*hourglass_command(), "up", "--data-dir", str(home), "--parent-pid", str(os.getpid())]
    command += ["--workers", str(workers)] if workers is not None else []
    command += ["--port", str(port)] if port is not None else []
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,  # Ctrl-C reaches this process alone, which stops the service in order
    )


def _wait_for_url(service: Service, home: Path) -> str:
    """The address that the service prints when it is up."""
    assert service.stdout is not None
    for line in service.stdout:
        if "http://" in line:
            return next(word for word in line.split() if word.startswith("http://"))
    last = (home / "service.log").read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
    raise SystemExit(f"error: the service did not start: {' '.join(last) or 'see the log'}")


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
