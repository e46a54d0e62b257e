"""The whole service on MNIST denoising: our Pareto fronts beside the published ones.

    HOURGLASS_DATA_DIR=DATA python benchmarks/front.py DATA/published/mnist_denoising.csv --folder FOLDER

Starts the server with its scheduler and workers on the folder, submits the search there or goes on with the one that it
holds, follows it and reports. Interrupted at any time, the same command goes on; with a larger `--epochs-per-arm` a
finished search runs on; `--report-only` prints what there is, also beside a run. To reach: 0.99 of the hypervolume of
the published hourglass arm from 1,200 epochs an arm, and a union front that beats it. Takes hours on two cores.
"""

import argparse
import sys
from pathlib import Path
from typing import get_args

from rich.console import Console

from benchmarks.front_report import Run, figure_of, sentences_of, tables_of
from benchmarks.front_space import ARMS, DEFAULT_ARMS, front_search, search_name
from benchmarks.published_table import Configuration, configurations, read_table
from nas_service.cli.child import running_service
from nas_service.cli.follow import follow
from nas_service.client import ApiError, Client
from nas_service.database import Database
from nas_service.database.searches import newest_searches
from nas_service.database.trials import newest_trials
from nas_service.domain.published import published_recipe
from nas_service.domain.search import SamplerName, Search
from nas_service.domain.states import SearchState
from nas_service.settings import Settings

MOST = 1_000_000  # rows read of a database


def run_search(search: Search, folder: Path, workers: int | None, console: Console) -> None:
    """Begin the search in the folder's database, or go on with it, and follow it to its end.

    Raises:
        ValueError: when the folder holds another search of that name, or it ended without finishing.
    """
    with running_service(folder, workers, port=0) as (_, client):
        search_id = begin_or_go_on(client, search)
        console.print(f"{client.server}/searches/{search_id}  (logs: {folder / 'service.log'})", soft_wrap=True)
        ended = follow(client, search_id, console)
    if ended.state is not SearchState.FINISHED:
        raise ValueError(f"the search {ended.state}: {ended.reason or 'see the log'}; begin anew in another --folder")


def begin_or_go_on(client: Client, search: Search) -> int:
    """The id of the search of this name: submitted now, or an earlier one, resumed and with no less budget than this.

    Raises:
        ValueError: when the earlier one is not the same but for its budget.
    """
    held = next((held for held in client.searches() if held.name == search.name), None)
    if held is None:
        return client.submit(search).id
    asked = search.model_copy(update={"budget": held.spec.budget})
    others = [name for name in Search.model_fields if getattr(held.spec, name) != getattr(asked, name)]
    if others:
        raise ValueError(
            f"the folder holds this search with another {', '.join(others)}; take the same options, or another --folder"
        )
    if held.state is SearchState.PAUSED:
        client.resume(held.id)
    if search.budget.total > held.budget:
        client.extend(held.id, search.budget.total)
    return held.id


def read_run(folder: Path, name: str, published: list[Configuration], published_epochs: int) -> Run:
    """What the folder's database holds of the search, whether a server runs on it or not.

    Raises:
        ValueError: when there is no such search.
    """
    settings = Settings(home=folder)
    if not (folder / "hourglass.db").exists():
        raise ValueError(f"{folder} holds no run; leave out --report-only to begin one")
    database = Database(settings.url_of_database)
    try:
        with database.read() as connection:
            found = [search for search in newest_searches(connection, MOST) if search.name == name]
            if not found:
                raise ValueError(f"{folder} holds no search named {name!r}")
            trials = newest_trials(connection, found[0].id, MOST)
    finally:
        database.close()
    return Run(found[0], trials, published, published_epochs)


def report(run: Run, folder: Path, budget: str, console: Console) -> None:
    """Print everything; the figure goes into the folder."""
    recipe, published = run.search.spec.recipe, published_recipe(budget)
    if recipe.model_copy(update={"precision": published.precision}) != published:
        console.print(f"{recipe.epochs} epochs a trial, not as published ({budget}): NOT COMPARABLE", style="red")
    for table in tables_of(run):
        console.print(table)
    console.print(sentences_of(run), highlight=False, soft_wrap=True)
    figure_of(run).write_html(folder / "front.html")
    console.print(f"figure: {folder / 'front.html'}", soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """Search, report; the exit code."""
    given = _arguments(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140)
    try:
        runs = read_table(given.table)
        published = configurations(runs, given.budget)
        if not given.report_only:
            run_search(search_of(given, runs[0].task, published), given.folder, given.workers, console)
        run = read_run(given.folder, search_name(runs[0].task), published, published_recipe(given.budget).epochs)
        report(run, given.folder, given.budget, console)
    except (ValueError, OSError, ApiError) as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        return 2
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on")
        return 130
    return 0


def search_of(given: argparse.Namespace, task: str, published: list[Configuration]) -> Search:
    """The search that the command line asks for.

    Raises:
        ValueError: when the table does not allow it.
    """
    recipe = published_recipe(given.budget).model_copy(update={"precision": given.precision})
    return front_search(
        task,
        published,
        given.arms,
        given.max_parameters or max(row.params for row in published),
        recipe if given.epochs is None else recipe.model_copy(update={"epochs": given.epochs}),
        given.epochs_per_arm,
        given.sampler,
        given.seed,
    )


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Search a Pareto front with the whole service; compare with a table.")
    parser.add_argument("table", type=Path, metavar="TABLE.csv", help="published runs")
    parser.add_argument("--folder", type=Path, default=Path("hourglass-data/front"), help="of the run")
    parser.add_argument("--report-only", action="store_true", help="start nothing, print what the folder holds")
    parser.add_argument("--budget", default="bs128_ep30", help="recipe, as the table names it")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=DEFAULT_ARMS)
    parser.add_argument("--max-parameters", type=int, default=2_500_000, help="0: as many as the largest published")
    parser.add_argument("--epochs-per-arm", type=int, default=1200)
    parser.add_argument("--epochs", type=int, help="for a quick look: other than published, so not comparable")
    parser.add_argument("--workers", type=int, help="default: one per GPU, else one per core")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto")
    parser.add_argument("--sampler", choices=get_args(SamplerName), default="frontier")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if min(given.epochs_per_arm, given.epochs or 1, given.workers or 1) < 1 or given.max_parameters < 0:
        parser.error("--epochs-per-arm, --epochs, --workers must be 1 or more, --max-parameters 0 or more")
    return given


if __name__ == "__main__":
    sys.exit(main())
