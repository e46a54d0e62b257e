"""The demo: the embedded service, one search followed to its end, and where to look then."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from nas_service.cli.child import running_service
from nas_service.cli.follow import follow
from nas_service.cli.searches import plain_console, read_search
from nas_service.client import Client
from nas_service.settings import Settings


def demo(
    file: Annotated[Path, typer.Argument(help="The search file to run.", metavar="FILE")],
    workers: Annotated[int | None, typer.Option(min=1, help="Default: one per GPU, else one per core.")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="Folder of the database and networks.")] = None,
) -> None:
    """Start everything, run one search to its end, show where the results are; stays up until Ctrl-C."""
    home = data_dir or Settings().home
    search = read_search(file, Settings().data_dir)
    console = plain_console()
    try:
        with running_service(home, workers) as (service, client):
            console.print(f"dashboard: {client.server}  (logs: {home / 'service.log'})")
            _run_search(client, search, home, console)
            if sys.stdin.isatty():
                console.print("The dashboard stays up; Ctrl-C stops everything.")
                service.wait()
    except KeyboardInterrupt:
        console.print("\nstopping")
    console.print("stopped; `hourglass up` serves the results again")


def _run_search(client: Client, search: dict[str, object], home: Path, console: Console) -> None:
    submitted = client.submit(search)
    console.print(f"search {submitted.id}: {client.server}/searches/{submitted.id}")
    ended = follow(client, submitted.id, console)
    if ended.state != "finished":
        raise SystemExit(f"error: the search {ended.state}: {ended.reason or 'see the log'}")
    results = home / "results" / f"search-{ended.id}"
    save_results(client, ended.id, results)
    console.print(f"front:    {client.server}/searches/{ended.id}  and  {results / 'front.csv'}", soft_wrap=True)
    console.print(f"trials:   {results / 'trials.csv'}")
    if ended.spec.keep_networks != "none":
        console.print(f"networks: {results / 'networks'}  (safetensors, those on the fronts)", soft_wrap=True)


def save_results(client: Client, search_id: int, folder: Path) -> None:
    """Write the fronts and trials as CSV, and the networks on the fronts."""
    (folder / "networks").mkdir(parents=True, exist_ok=True)
    (folder / "front.csv").write_text(client.front_csv(search_id), encoding="utf-8")
    (folder / "trials.csv").write_text(client.trials_csv(search_id), encoding="utf-8")
    if client.search(search_id).spec.keep_networks == "none":
        return
    for part in client.front(search_id).arms.values():
        for trial in part.points:
            if trial.origin == "imported":
                continue
            name = f"{trial.arm}-{trial.number}.safetensors"
            (folder / "networks" / name).write_bytes(client.network(trial.id))
