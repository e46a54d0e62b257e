"""Commands that run the parts: up (everything on this machine), server, scheduler, worker, migrate."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from types import FrameType
from typing import Annotated

import structlog
import typer

from nas_service.cli.logs import configure_logging
from nas_service.settings import USUAL_PORT, Settings

log = structlog.get_logger()

Host = Annotated[str, typer.Option(help="Address to listen on; any but loopback needs an API key first.")]
Home = Annotated[Path | None, typer.Option("--data-dir", help="Folder of the database and the networks.")]
ParentPid = Annotated[int | None, typer.Option(hidden=True, help="End with this process.")]
Slots = Annotated[
    str,
    typer.Option(
        help="Trials that a worker trains at once on its device, 1 to 16; auto finds the number on a GPU from memory "
        "and measured throughput. On a CPU auto is 1: run a worker per core instead."
    ),
]
MAX_NAME = 200  # characters
SAY_SECONDS = 30.0  # between lines of the log while the database is awaited


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(epilog="Example: hourglass up --port 8080 --workers 2 --data-dir ~/hourglass")(up)
    app.command(epilog="Example: HOURGLASS_DATABASE_URL=postgresql+psycopg://... hourglass server --port 8080")(server)
    app.command(epilog="Example: HOURGLASS_DATABASE_URL=postgresql+psycopg://... hourglass scheduler")(scheduler)
    app.command(epilog="Example: hourglass worker --server http://127.0.0.1:8080 --datasets ~/data")(worker)
    app.command(epilog="Example: HOURGLASS_DATABASE_URL=postgresql+psycopg://... hourglass migrate")(migrate)


def up(
    host: Host = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 takes a free one; default: 8080, or a free one.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Default: one per GPU, else one per core.")] = None,
    slots: Slots = "1",
    data_dir: Home = None,
    parent_pid: ParentPid = None,
) -> None:
    """Run everything on this machine: server, scheduler, dashboard, workers, on a SQLite database."""
    from nas_service.cli.embedded import EmbeddedService

    _number_of_slots(slots)
    configure_logging()
    settings = Settings(home=data_dir) if data_dir else Settings()
    service = EmbeddedService(settings, host, port, workers, slots)
    if parent_pid is not None:
        threading.Thread(target=_stop_with_parent, args=(parent_pid, service.stop), daemon=True).start()
    with _database_in_use():
        service.run()


def server(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535)] = USUAL_PORT,
    data_dir: Home = None,
) -> None:
    """Run the API and the dashboard alone, on a database that is at this version's schema."""
    import uvicorn

    from api.app import Server, create_app
    from nas_service.cli.binding import require_keys_off_loopback

    configure_logging()
    settings = _current_settings(data_dir)
    require_keys_off_loopback(host, settings)
    app = create_app(settings)
    Server(uvicorn.Config(app, host=host, port=port, log_level="warning", timeout_graceful_shutdown=3)).run()


def scheduler(data_dir: Home = None, parent_pid: ParentPid = None) -> None:
    """Run the scheduler alone: it asks the optimizer and keeps the queue filled."""
    from nas_service.artifacts import ArtifactStore
    from nas_service.database import Database
    from nas_service.scheduler import Scheduler

    configure_logging()
    settings = _current_settings(data_dir)
    stop = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    if parent_pid is not None:
        threading.Thread(target=_stop_with_parent, args=(parent_pid, stop), daemon=True).start()
    database = Database.of(settings)
    Scheduler(database, ArtifactStore(settings.url_of_artifacts), settings).run(stop)
    database.close()


def worker(
    server: Annotated[str | None, typer.Option(help="Default: HOURGLASS_SERVER or http://127.0.0.1:8080.")] = None,
    datasets: Annotated[Path | None, typer.Option(help="Folder of datasets; default: HOURGLASS_DATA_DIR.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    threads: Annotated[
        int, typer.Option(min=1, help="Torch threads of a slot; keep 1 unless it has the CPU alone.")
    ] = 1,
    slots: Slots = "1",
    name: Annotated[str | None, typer.Option(help="How people call it; default: host and process id.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="key=value, shown with the worker; repeatable.")] = None,
    exit_when_idle: Annotated[float | None, typer.Option(min=0, help="Seconds without a trial, then it ends.")] = None,
    parent_pid: ParentPid = None,
) -> None:
    """Pull trials from a server and train them; run one per GPU or per core, on any machine that reaches it."""
    from workers.loop import Worker, WorkerOptions

    configure_logging()
    settings = Settings()
    if not all("=" in pair for pair in label or []):
        raise typer.BadParameter(f"a label is key=value (got {', '.join(label or [])})", param_hint="--label")
    if len(name or "") > MAX_NAME:
        raise typer.BadParameter(f"a name has at most {MAX_NAME} characters", param_hint="--name")
    _check_device(device)
    labels = dict(pair.split("=", 1) for pair in label or [])
    options = WorkerOptions(
        server=server or settings.server,
        api_key=settings.api_key,
        data_dir=datasets or settings.data_dir,
        fetch_datasets=settings.fetch_datasets,
        device=device,
        threads=threads,
        slots=_number_of_slots(slots),
        labels=labels,
        exit_when_idle=exit_when_idle,
        parent_pid=parent_pid,
        **({"name": name} if name else {}),
    )
    Worker(options).run()


def migrate(data_dir: Home = None) -> None:
    """Bring the database to this version's schema."""
    from nas_service.database.migrate import upgrade

    settings = Settings(home=data_dir) if data_dir else Settings()
    with _database_in_use():
        upgrade(settings.url_of_database)
    typer.echo("the database is at this version's schema")


def _current_settings(data_dir: Path | None) -> Settings:
    """The settings, once their database is there; a service may be started before its database."""
    from nas_service.database.migrate import DatabaseNotUp, require_current

    settings = Settings(home=data_dir) if data_dir else Settings()
    said_at = -SAY_SECONDS
    with _database_in_use():
        while True:
            try:
                require_current(settings.url_of_database)
                return settings
            except DatabaseNotUp as error:
                if monotonic() - said_at >= SAY_SECONDS:
                    log.warning("waiting for the database", why=str(error))
                    said_at = monotonic()
            sleep(1)


@contextmanager
def _database_in_use() -> Iterator[None]:
    """Say in one sentence why a database cannot be used."""
    from nas_service.database.migrate import DatabaseUnusable

    try:
        yield
    except DatabaseUnusable as error:
        raise SystemExit(f"error: {error}") from error


def _number_of_slots(wish: str) -> int | None:
    """The number of slots; None for auto."""
    from workers.slots import MOST_SLOTS

    if wish == "auto":
        return None
    if wish not in [str(number) for number in range(1, MOST_SLOTS + 1)]:
        raise typer.BadParameter(
            f"slots are a number from 1 to {MOST_SLOTS}, or auto (got {wish})", param_hint="--slots"
        )
    return int(wish)


def _check_device(name: str) -> None:
    import torch

    try:
        is_there = name == "auto" or torch.empty(1, device=name).device.type in ("cpu", "cuda", "mps")
    except (RuntimeError, AssertionError):  # no such word; torch was built without it
        is_there = False
    if not is_there:
        raise typer.BadParameter(f"there is no device {name!r} here; auto takes what there is", param_hint="--device")


def _stop_with_parent(parent_pid: int, stop: threading.Event) -> None:
    while os.getppid() == parent_pid:
        if stop.wait(0.5):
            return
    stop.set()
