"""The `hourglass` command: the composition root. Parts are imported inside the commands that start them."""

import sys

import typer
from pydantic import ValidationError

from nas_service.cli import exchange, searches, serve
from nas_service.cli.audit import audit
from nas_service.cli.demo import demo
from nas_service.cli.diagnose import diagnose
from nas_service.cli.keys import keys
from nas_service.cli.train import train
from nas_service.client.errors import ApiError, ServerUnreachable
from nas_service.domain.faults import faults_of
from nas_service.settings import Settings

app = typer.Typer(
    help="Search hourglass network shapes: serve, work, submit, look.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
serve.register(app)
searches.register(app)
exchange.register(app)
app.add_typer(keys, name="keys")
app.command(epilog="Example: hourglass audit --limit 20")(audit)
app.command(epilog="Example: hourglass demo examples/digits_denoising.yaml")(demo)
app.command()(train)
app.command(epilog="Example: hourglass diagnose 12 --json")(diagnose)


def main() -> None:
    """Run the command; what users can mend is said in one sentence."""
    try:
        app()
    except ApiError as error:
        sys.exit(f"error: {_with_faults(error)}")
    except ServerUnreachable as error:
        sys.exit(f"error: {error}")
    except ValidationError as error:
        if error.title != Settings.__name__:
            raise
        sys.exit("\n".join(f"error: HOURGLASS_{row.field.upper()}: {row.message}" for row in faults_of(error)))


def _with_faults(error: ApiError) -> str:
    if not error.faults:
        return str(error)
    return "the server refused this\n" + "\n".join(f"  {fault.field}: {fault.message}" for fault in error.faults)
