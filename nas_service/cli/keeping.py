"""Commands that keep the service's data: backup, restore, gc."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from nas_service.settings import Settings

Home = Annotated[Path | None, typer.Option("--data-dir", help="The service's folder; default: HOURGLASS_HOME.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the app."""
    app.command(epilog="Example: hourglass backup monday.tar")(backup)
    app.command(epilog="Example: hourglass restore monday.tar --data-dir restored")(restore)
    app.command(epilog="Example: hourglass gc --dry-run")(gc)


def backup(
    file: Annotated[Path, typer.Argument(help="The archive to write; it must not exist.")], data_dir: Home = None
) -> None:
    """Back up the embedded service, also while it runs: its database and the files that it names, in one tar."""
    from nas_service.lifecycle.backup import back_up

    with _in_one_sentence():
        made = back_up(_settings(data_dir), file.absolute(), lambda why: typer.echo(f"left out: {why}", err=True))
    left_out = f", {made.left_out:,} left out" if made.left_out else ""
    typer.echo(f"{file}: the database and {made.artifacts:,} files, {_megabytes(made.size_bytes)}{left_out}")


def restore(
    file: Annotated[Path, typer.Argument(help="A backup.")],
    data_dir: Annotated[Path, typer.Option(help="An empty folder, or one that is not there yet.")],
) -> None:
    """Make a folder for `hourglass up` from a backup; every digest is checked, an older schema migrated."""
    from nas_service.lifecycle.restore import restore as restore_to

    if "HOURGLASS_ARTIFACTS" in os.environ:
        raise SystemExit("error: unset HOURGLASS_ARTIFACTS; a backup brings its artifacts into --data-dir")
    with _in_one_sentence():
        manifest = restore_to(file, data_dir.absolute())
    typer.echo(f"{data_dir}: as of {manifest.made_at}, {len(manifest.files) - 1:,} files; start it with")
    typer.echo(f"  hourglass up --data-dir {data_dir}")


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    data_dir: Home = None,
) -> None:
    """Remove artifact files that no row names and that are older than an hour; the service may run."""
    from nas_service.artifacts import ArtifactStore
    from nas_service.database import Database
    from nas_service.database.migrate import require_current
    from nas_service.lifecycle.garbage import remove_unnamed, unnamed_files

    settings = _settings(data_dir)
    with _in_one_sentence():
        require_current(settings.url_of_database)
    database = Database(settings.url_of_database)
    look = unnamed_files if dry_run else remove_unnamed
    files = look(database, ArtifactStore(settings.url_of_artifacts))
    database.close()
    for file in files:
        typer.echo(file.path)
    word = "would be removed" if dry_run else "removed"
    typer.echo(f"{len(files):,} files, {_megabytes(sum(file.size_bytes for file in files))} {word}")


def _settings(data_dir: Path | None) -> Settings:
    return Settings(home=data_dir) if data_dir else Settings()


@contextmanager
def _in_one_sentence() -> Iterator[None]:
    from nas_service.database.migrate import DatabaseUnusable
    from nas_service.lifecycle.archive import BackupError

    try:
        yield
    except (BackupError, DatabaseUnusable) as error:
        raise SystemExit(f"error: {error}") from error


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"
