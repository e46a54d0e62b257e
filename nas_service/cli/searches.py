"""Commands on searches: submit, list, show, pause, resume, cancel, extend, share, delete, front, trials."""

import json
import math
from collections.abc import Hashable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console
from rich.table import Table

from nas_service.cli.connection import SearchId, Server, client_of
from nas_service.cli.exchange import bring_from
from nas_service.cli.follow import arms_table, completed_here, follow, shape_text
from nas_service.client import Client
from nas_service.domain.trial import objective_values
from nas_service.messages import Front, SearchDetail
from nas_service.settings import Settings


class FrontFormat(StrEnum):
    """How a front is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


class TrialsFormat(StrEnum):
    """How trials are printed."""

    CSV = "csv"
    JSON = "json"


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(epilog="Example: hourglass submit examples/digits_denoising.yaml --wait")(submit)
    app.command(name="searches", epilog="Example: hourglass searches")(list_searches)
    app.command(epilog="Example: hourglass show 1")(show)
    app.command(epilog="Example: hourglass pause 1")(pause)
    app.command(epilog="Example: hourglass resume 1")(resume)
    app.command(epilog="Example: hourglass cancel 1")(cancel)
    app.command(epilog="Example: hourglass extend 1 80")(extend)
    app.command(epilog="Example: hourglass share 1")(share)
    app.command(epilog="Example: hourglass delete 1")(delete)
    app.command(epilog="Example: hourglass front 1 --format csv > front.csv")(front)
    app.command(epilog="Example: hourglass trials 1 --format csv > trials.csv")(trials)


def submit(
    file: Annotated[Path, typer.Argument(help="The search file (YAML or JSON).", metavar="FILE")],
    wait: Annotated[bool, typer.Option("--wait", help="Follow the search until it ends.")] = False,
    warm_start: Annotated[
        str | None, typer.Option(help="Begin with results of a search, a CSV or Optuna studies: see `warm-start`.")
    ] = None,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also with results of another task or recipe.")] = False,
    server: Server = None,
) -> None:
    """Submit a search; with --wait follow it, and exit 0 only when it finished."""
    content = read_search(file, Settings().data_dir)
    with client_of(server) as client:
        search = _submit_warm(client, content, warm_start, anyway) if warm_start else client.submit(content)
        typer.echo(f"search {search.id} ({search.name}): {client.server}/searches/{search.id}")
        if wait:
            ended = follow(client, search.id, plain_console())
            raise typer.Exit(0 if ended.state == "finished" else 1)


def list_searches(limit: Annotated[int, typer.Option(min=1, max=1000)] = 20, server: Server = None) -> None:
    """List searches, newest first."""
    table = Table("id", "name", "state", "task", "dataset", "arms", "completed")
    with client_of(server) as client:
        found = client.searches(limit)
    for search in found:
        completed = sum(map(completed_here, search.arms))
        spec = search.spec
        row = (search.id, search.name, search.state, spec.task.kind, spec.dataset.key, len(search.arms), completed)
        table.add_row(*map(str, row))
    plain_console().print(table)


def show(search_id: SearchId, server: Server = None) -> None:
    """Show a search: its state, each arm's progress, why nothing runs when nothing runs."""
    with client_of(server) as client:
        search, fronts = client.search(search_id), client.front(search_id)
    _print_state(search)
    plain_console().print(arms_table(search, fronts))


def pause(search_id: SearchId, server: Server = None) -> None:
    """Lease nothing more; running trials go back to the queue."""
    with client_of(server) as client:
        _print_state(client.pause(search_id))


def resume(search_id: SearchId, server: Server = None) -> None:
    """Let a paused search run again."""
    with client_of(server) as client:
        _print_state(client.resume(search_id))


def cancel(search_id: SearchId, server: Server = None) -> None:
    """End a search; its finished trials stay."""
    with client_of(server) as client:
        _print_state(client.cancel(search_id))


def extend(
    search_id: SearchId,
    budget: Annotated[float, typer.Argument(help="The new total per arm, in the budget's own unit.", min=0)],
    server: Server = None,
) -> None:
    """Give every arm a larger budget; a finished search runs again."""
    if not 0 < budget < math.inf:
        raise typer.BadParameter(f"a budget is above 0 and finite (got {budget:g})", param_hint="budget")
    with client_of(server) as client:
        _print_state(client.extend(search_id, budget))


def share(
    search_id: SearchId,
    undo: Annotated[bool, typer.Option("--undo", help="Let only you and admins look again.")] = False,
    server: Server = None,
) -> None:
    """Let everybody with a key look at a search."""
    with client_of(server) as client:
        search = client.share(search_id, shared=not undo)
    typer.echo(f"search {search.id} ({search.name}) is {'shared' if search.shared else 'not shared'}")


def delete(search_id: SearchId, server: Server = None) -> None:
    """Forget a search that has ended, with its trials and networks."""
    with client_of(server) as client:
        client.delete(search_id)
    typer.echo(f"search {search_id} is deleted")


def front(
    search_id: SearchId,
    format_: Annotated[FrontFormat, typer.Option("--format")] = FrontFormat.TABLE,
    server: Server = None,
) -> None:
    """Print the front of each arm."""
    with client_of(server) as client:
        if format_ is FrontFormat.CSV:
            typer.echo(client.front_csv(search_id), nl=False)
            return
        fronts = client.front(search_id)
    if format_ is FrontFormat.JSON:
        typer.echo(fronts.model_dump_json(indent=2))
    else:
        plain_console().print(_front_table(fronts))


def trials(
    search_id: SearchId,
    format_: Annotated[TrialsFormat, typer.Option("--format")] = TrialsFormat.CSV,
    server: Server = None,
) -> None:
    """Print every trial, newest first."""
    with client_of(server) as client:
        if format_ is TrialsFormat.CSV:
            typer.echo(client.trials_csv(search_id), nl=False)
        else:
            rows = ",\n".join(trial.model_dump_json() for trial in client.trials(search_id))
            typer.echo(f"[{rows}]")


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would let the last one win, and an arm would be lost in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for position, key in enumerate(keys):
            if key in keys[:position]:
                mark = node.value[position][0].start_mark
                raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands there twice", mark)
        return super().construct_mapping(node, deep)


def plain_console() -> Console:
    """A console that prints what users wrote as it is: brackets and colons mean nothing in it."""
    return Console(markup=False, emoji=False)


def read_search(file: Path, data_dir: Path | None) -> dict[str, Any]:
    """Read a search file; facts of a dataset path are filled in where this machine can read it.

    Raises:
        SystemExit: when the file is not readable as a search; the message says why.
    """
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), _Loader)
        json.dumps(content, allow_nan=False)
    except OSError as error:
        raise SystemExit(f"error: cannot read {file}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SystemExit(f"error: {file} is not YAML: {error}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise SystemExit(
            f"error: {file} holds more than text, finite numbers, lists and mappings ({error}); write dates in quotes"
        ) from error
    if not isinstance(content, dict):
        raise SystemExit(f"error: {file} holds no search; it should begin like `name: my-search`")
    dataset = content.get("dataset")
    if isinstance(dataset, dict) and isinstance(dataset.get("path"), str):
        content["dataset"] = _facts_of(dataset, data_dir) | dataset
    return content


def _facts_of(dataset: dict[str, Any], data_dir: Path | None) -> dict[str, Any]:
    is_path = dataset["path"].startswith(
        ("folder:", "npz:")
    )  # anything else the server refuses, and says what to write
    if {"image_shape", "digest", "train_images"} <= dataset.keys() or data_dir is None or not is_path:
        return {}
    from workers.training.datasets import DatasetError, describe_dataset

    try:
        return describe_dataset(dataset["path"], data_dir).model_dump(mode="json", exclude_none=True)
    except (DatasetError, OSError) as error:
        typer.echo(f"note: the dataset's facts are not filled in: {error}", err=True)
        return {}


def _submit_warm(client: Client, content: dict[str, Any], source: str, anyway: bool) -> SearchDetail:
    """Submit a search whose first proposal knows the source; where that cannot be had no search is left behind."""
    search = client.submit(content, paused=True)
    try:
        typer.echo(bring_from(client, search.id, source, anyway))
    except BaseException:
        client.cancel(search.id)
        client.delete(search.id)
        raise
    return client.resume(search.id)


def _print_state(search: SearchDetail) -> None:
    why = search.reason or search.waiting_because
    typer.echo(f"search {search.id} ({search.name}) is {search.state}{f': {why}' if why else ''}")


def _front_table(fronts: Front) -> Table:
    names = [objective.name for objective in fronts.objectives]
    table = Table("arm", "trial", "d_z/d_h x depth", "lr", *names, "origin", "on union")
    union = {trial.id for trial in fronts.union.points}
    for arm, part in fronts.arms.items():
        for trial in part.points:
            assert trial.costs is not None, "it stands on a front"
            values = objective_values(names, trial.costs, trial.metrics)
            cells = [f"{value:,}" if isinstance(value, int) else f"{value:.4g}" for value in values]
            rate = f"{trial.lr:.3g}" if isinstance(trial.lr, float) else str(trial.lr)
            table.add_row(
                arm, str(trial.id), shape_text(trial), rate, *cells, trial.origin, "yes" if trial.id in union else ""
            )
        table.add_section()
    return table
