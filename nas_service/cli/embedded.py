"""The embedded service: one process that serves, with the scheduler and the workers as its children.

The server runs in a thread, so that this process can stop the workers first: they give their trials back to it.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

import structlog
import typer
import uvicorn
from filelock import FileLock, Timeout

from api.app import Server, create_app
from nas_service.cli.binding import require_keys_off_loopback
from nas_service.database.migrate import upgrade
from nas_service.lifecycle.keys import own_key
from nas_service.settings import USUAL_PORT, Settings

log = structlog.get_logger()

STOP_SECONDS = 20.0  # for a child to end by itself
RESTART_PAUSE_SECONDS = 2.0


class EmbeddedService:
    """Everything on one machine, started and stopped together."""

    def __init__(self, settings: Settings, host: str, port: int | None, workers: int | None, slots: str) -> None:
        if settings.database_url is not None:
            raise SystemExit(
                "error: `hourglass up` keeps its own SQLite database; for HOURGLASS_DATABASE_URL run "
                "`hourglass server`, `hourglass scheduler` and `hourglass worker`"
            )
        self._settings = settings
        self._host = host
        self._port = port
        self._devices = _devices(workers)
        self._slots = slots
        self._own_key = own_key()  # of the workers started here; it dies with this process
        self.stop = threading.Event()  # set it, and everything ends in order
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT; raises SystemExit when it cannot start."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop.set())
        try:
            self._settings.home.mkdir(parents=True, exist_ok=True)
            with FileLock(self._settings.home / "lock", timeout=0):
                self._serve()
        except Timeout as error:
            raise SystemExit(
                f"error: another server uses {self._settings.home.resolve()}; stop it or choose another --data-dir"
            ) from error
        except OSError as error:
            raise SystemExit(f"error: cannot use {self._settings.home} as --data-dir: {error.strerror}") from error

    def _serve(self) -> None:
        upgrade(self._settings.url_of_database)
        require_keys_off_loopback(self._host, self._settings)
        listener = _listen(self._host, self._port)
        url = _url_here(*listener.getsockname()[:2])
        app = create_app(self._settings, self._own_key)
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2)
        server = Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="server")
        thread.start()
        while not server.started and thread.is_alive():
            self.stop.wait(0.02)
        try:
            if server.started:
                typer.echo(f"Hourglass is up at {url} (Ctrl-C stops it)")
                self._watch_children(url)
        finally:
            self._stop_children()
            server.should_exit = True
            thread.join()

    def _watch_children(self, url: str) -> None:
        """Start the scheduler and the workers, and start again what dies."""
        commands = {"scheduler": ["scheduler", "--data-dir", str(self._settings.home.resolve())]}
        for number, device in enumerate(self._devices):
            commands[f"worker {number}"] = ["worker", "--server", url, "--device", device, "--slots", self._slots]
        started_at: dict[str, float] = {}
        while not self.stop.is_set():
            for name, command in commands.items():
                child = self._children.get(name)
                if child is not None and child.poll() is None:
                    continue
                if child is not None:
                    log.warning("a part died and is started again", part=name, exit_status=child.returncode)
                    self.stop.wait(max(0.0, started_at[name] + RESTART_PAUSE_SECONDS - monotonic()))
                started_at[name] = monotonic()
                self._children[name] = _start(command, self._own_key if command[0] == "worker" else "")
            self.stop.wait(0.2)

    def _stop_children(self) -> None:
        """Workers first: they give their trials back."""
        for child in sorted(self._children.items(), reverse=True):
            child[1].terminate()
        deadline = monotonic() + STOP_SECONDS
        for child_process in self._children.values():
            try:
                child_process.wait(max(0.0, deadline - monotonic()))
            except subprocess.TimeoutExpired:
                child_process.kill()


def hourglass_command() -> list[str]:
    """How to start `hourglass` of this very installation."""
    script = Path(sys.executable).with_name("hourglass")
    return [sys.executable, str(script)] if script.exists() else [sys.executable, "-m", "nas_service.cli"]


def _start(command: Sequence[str], api_key: str) -> subprocess.Popen[bytes]:
    # A session of its own: Ctrl-C in the terminal reaches this process alone, which stops the parts in order.
    return subprocess.Popen(
        [*hourglass_command(), *command, "--parent-pid", str(os.getpid())],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "HOURGLASS_API_KEY": api_key},  # arguments of a process can be read by everybody
    )


def _url_here(address: str, port: int) -> str:
    """How this machine reaches what listens there."""
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _listen(host: str, port: int | None) -> socket.socket:
    """A listening socket; raises SystemExit when the port is taken and the user named it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named asyncio turns off the delay of small packets (TCP_NODELAY); else an answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, USUAL_PORT if port is None else port))
    except OSError as error:
        if port is not None:
            listener.close()
            message = f"error: port {port} is taken ({error.strerror}); choose another, or --port 0 for a free one"
            raise SystemExit(message) from error
        listener.bind((host, 0))
    return listener


def _devices(workers: int | None) -> list[str]:
    """The device of each worker: one per GPU, else one per core, else as many as were asked for."""
    gpus = _count_gpus()
    wanted = workers if workers is not None else gpus or _count_cores()
    return [f"cuda:{number % gpus}" if gpus else "cpu" for number in range(wanted)]


def _count_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _count_gpus() -> int:
    if shutil.which("nvidia-smi") is None:
        return 0
    listing = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())
