"""`hourglass diagnose`: why a trial's network is as good as it is, looked into on this machine.

Leaves out what is measured (`workers.training.diagnose`), which is imported only when the command runs.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nas_service.cli.connection import Server, client_of
from nas_service.cli.here import one_sentence, torch_device
from nas_service.domain.search import Search
from nas_service.domain.trial import Trial
from nas_service.settings import Settings

if TYPE_CHECKING:
    from workers.training.diagnose import Diagnosis


def diagnose(
    trial_id: Annotated[int, typer.Argument(metavar="TRIAL", min=1, help="The trial's id; its network must be kept.")],
    server: Server = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    data_dir: Annotated[
        Path | None, typer.Option("--datasets", envvar="HOURGLASS_DATA_DIR", help="Folder of datasets.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON on stdout.")] = False,
) -> None:
    """Look into a trial's network: what each block adds, and how much of its inner width it uses."""
    with client_of(server) as client:
        trial = client.trial(trial_id)
        search = client.search(trial.search_id).spec
        content = client.network(trial_id)
    console = Console(stderr=True)
    with one_sentence(console):
        found = _look(content, search, device, data_dir)
    if as_json:
        print(json.dumps({"trial": trial.id, "split": "eval", **asdict(found)}))
    else:
        Console().print(_table(trial, found))


def _look(content: bytes, search: Search, device: str, data_dir: Path | None) -> "Diagnosis":
    from workers.training.datasets import load_dataset
    from workers.training.diagnose import diagnose as look_into
    from workers.training.network_file import load_network
    from workers.training.tasks import prepare

    where = torch_device(device)
    data = load_dataset(search.dataset, data_dir, Settings().fetch_datasets)
    return look_into(load_network(content).to(where), prepare(search.task, data, where).eval)


def _table(trial: Trial, found: "Diagnosis") -> Table:
    assert trial.architecture is not None, "a trial with a network has one"
    shape = trial.architecture
    table = Table(
        title=f"trial {trial.id}: {shape.family} {shape.d_z}/{shape.d_h} x{shape.depth}, {found.psnr_db:.3f} dB (eval)",
        caption=(
            f"before the first block {found.psnr_db_before:.3f} dB; with {found.units_cut} of "
            f"{shape.depth * shape.d_h} inner units cut {found.psnr_db_cut:.3f} dB"
        ),
    )
    for heading in ("block", "dB behind", "dB without", "relative update", "effective rank", "used rank", "live units"):
        table.add_column(heading, justify="right")
    for number, block in enumerate(found.blocks, start=1):
        cells: list[Any] = [
            number,
            f"{block.psnr_db:.3f}",
            f"{block.psnr_db_without:.3f}",
            f"{block.relative_update:.3f}",
            f"{block.effective_rank:.1f}",
            block.used_rank,
            f"{block.live_units} of {shape.d_h}",
        ]
        table.add_row(*map(str, cells))
    return table
