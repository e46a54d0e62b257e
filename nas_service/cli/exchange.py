"""Commands that carry results between searches: warm-start from elsewhere, export as Optuna studies."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from nas_service.cli.connection import SearchId, Server, client_of
from nas_service.client import Client
from nas_service.client.warm_start import Unfit, findings_of_csv, findings_of_search, fit, why_incomparable
from nas_service.domain.finding import Findings
from nas_service.domain.search import Search

Source = Annotated[
    str, typer.Argument(help="The id of a search, a CSV file, or an Optuna storage as URL#STUDY.", metavar="SOURCE")
]
Anyway = Annotated[bool, typer.Option("--anyway", help="Also results of another dataset, task or recipe.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(name="warm-start", epilog="Example: hourglass warm-start 2 1")(warm_start)
    app.command(epilog="Example: hourglass export 1 sqlite:///search.db")(export)


def warm_start(search_id: SearchId, source: Source, anyway: Anyway = False, server: Server = None) -> None:
    """Bring a search results from elsewhere: completed trials outside its budget, marked as imported."""
    with client_of(server) as client:
        typer.echo(bring_from(client, search_id, source, anyway))


def export(
    search_id: SearchId,
    storage: Annotated[str, typer.Argument(help="Of Optuna: sqlite:///FILE, postgresql+psycopg://..., journal:FILE.")],
    name: Annotated[
        str | None, typer.Option(help="Before ` / ARM` in the studies' names. Default: the search's.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace studies of these names.")] = False,
    server: Server = None,
) -> None:
    """Copy a search into an Optuna storage, one study an arm, for notebooks and optuna-dashboard."""
    from nas_service.optimizer.exchange import ExchangeError, export_search

    _refuse_our_own(storage)
    with client_of(server) as client:
        search, trials = client.search(search_id), list(client.trials(search_id))
    try:
        exported = export_search(search.spec, trials, storage, name or search.name, overwrite)
    except ExchangeError as error:
        raise SystemExit(f"error: {error}") from error
    for study, count in exported.studies.items():
        typer.echo(f"{study}: {count:,} trials")
    if exported.left_out:
        typer.echo(f"left out {exported.left_out:,} (refused, queued or running)")


def bring_from(client: Client, search_id: int, source: str, anyway: bool) -> str:
    """Bring what a source has for a search; what became of it, in words.

    Raises:
        SystemExit: when the source cannot be read, or does not compare with the search.
    """
    search = client.search(search_id).spec
    try:
        findings = _findings(client, source, search)
    except Unfit as error:
        raise SystemExit(f"error: {error}") from error
    if not anyway and (why := why_incomparable(search, findings)) is not None:
        raise SystemExit(f"error: what {source} has does not compare: {why}; --anyway takes it all the same")
    fitted = fit(search, findings, client.trials(search_id))
    brought = client.bring_results(search_id, fitted.results)
    return f"search {search_id}: {brought.added:,} results imported from {source}, {fitted.text}"


def _findings(client: Client, source: str, search: Search) -> Findings:
    if source.isascii() and source.isdigit():
        other = client.search(int(source))
        return findings_of_search(other.id, other.spec, client.trials(other.id))
    storage, mark, study = source.partition("#")
    if not mark:
        return findings_of_csv(Path(source), search)
    from nas_service.optimizer.exchange import ExchangeError, findings_of_studies

    _refuse_our_own(storage)
    try:
        return findings_of_studies(storage, study)
    except ExchangeError as error:
        raise Unfit(str(error)) from error


def _refuse_our_own(storage: str) -> None:
    """Keep Optuna out of a database of the service: it would put its tables among ours, some under the same names."""
    from nas_service.database.migrate import DatabaseUnusable, require_current
    from nas_service.optimizer.exchange import path_of

    if (path := path_of(storage)) is not None and not path.exists():  # to look would make one
        return
    with suppress(DatabaseUnusable):  # Optuna will say why
        require_current(storage)
        raise SystemExit("error: this is a database of the service; Optuna needs one of its own")
