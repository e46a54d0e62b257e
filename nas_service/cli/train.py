"""`hourglass train`: one network, trained and measured here, without a server.

Leaves out the training itself (`workers.training`), which is imported only when the command runs: torch takes seconds.
"""

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from nas_service.cli.here import one_sentence, torch_device
from nas_service.domain.architecture import Activation, Architecture, BranchScale, Family, Norm, WIn, Wiring, WOut
from nas_service.domain.costs import Costs, known_costs
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Task, TaskKind, task_shape
from nas_service.domain.transfer import LrTransfer, lr_factors

if TYPE_CHECKING:
    from workers.training.train import Training

PUBLISHED = Recipe()  # the defaults below


def train(
    d_z: Annotated[int, typer.Option(help="Skip width.")],
    d_h: Annotated[int, typer.Option(help="Inner width of every block.")],
    depth: Annotated[int, typer.Option(help="Number of blocks.")],
    dataset: Annotated[str, typer.Option(help="A known name, folder:NAME or npz:NAME.")] = "digits",
    task: Annotated[TaskKind, typer.Option(help="What the network is asked to produce.")] = TaskKind.DENOISING,
    noise_std: Annotated[float | None, typer.Option(help="Denoising: noise of pixels in [0, 1]; 0.25.")] = None,
    factor: Annotated[int | None, typer.Option(help="Super-resolution: how much smaller the input is; 2.")] = None,
    family: Annotated[Family, typer.Option(help="Where the block is narrow.")] = Family.HOURGLASS,
    w_in: Annotated[WIn, typer.Option(help="How the input reaches d_z.")] = WIn.LEARNED,
    w_out: Annotated[WOut, typer.Option(help="How d_z becomes the output.")] = WOut.LEARNED,
    norm: Annotated[Norm, typer.Option(help="What stands before each block.")] = Norm.BATCH,
    activation: Annotated[Activation, typer.Option(help="Nonlinearity inside a block.")] = Activation.RELU,
    branch_scale: Annotated[BranchScale, typer.Option(help="Factor on each branch.")] = BranchScale.ONE,
    wiring: Annotated[Wiring, typer.Option(help="How the branches are joined.")] = Wiring.RESIDUAL,
    lr: Annotated[float, typer.Option(help="Peak learning rate, above 0.")] = 1e-3,
    lr_transfer: Annotated[LrTransfer, typer.Option(help="How it becomes that of each weight.")] = LrTransfer.NONE,
    epochs: Annotated[int, typer.Option(help="Passes over the training split.")] = PUBLISHED.epochs,
    batch_size: Annotated[int, typer.Option(help="Images in a step.")] = PUBLISHED.batch_size,
    weight_decay: Annotated[float, typer.Option(help="AdamW's.")] = PUBLISHED.weight_decay,
    schedule: Annotated[str, typer.Option(help="linear, linear_per_step or constant.")] = PUBLISHED.schedule,
    augment: Annotated[int, typer.Option(help="Visits of an image in an epoch: 1, 2 or 4.")] = PUBLISHED.augment,
    precision: Annotated[str, typer.Option(help="auto, fp32 or bf16.")] = PUBLISHED.precision,
    seed: Annotated[int, typer.Option(min=0, max=2**31, help="Replicate; the run is seeded 42 + this.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    data_dir: Annotated[
        Path | None, typer.Option("--datasets", envvar="HOURGLASS_DATA_DIR", help="Folder of datasets.")
    ] = None,
    fetch: Annotated[bool, typer.Option(help="Download a known dataset that is missing.")] = True,
    output: Annotated[Path | None, typer.Option(help="Save the network there (safetensors).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON on stdout.")] = False,
) -> None:
    """Train one network and measure it on the evaluation and test splits.

    Defaults are the published recipe: 30 epochs, batches of 128, AdamW, a learning rate that falls linearly.

    Example: hourglass train --dataset mnist --d-z 785 --d-h 115 --depth 5 --lr 1e-3 --json
    """
    console = Console(stderr=True)
    with one_sentence(console):
        architecture = Architecture(
            family=family,
            d_z=d_z,
            d_h=d_h,
            depth=depth,
            w_in=w_in,
            w_out=w_out,
            norm=norm,
            activation=activation,
            branch_scale=branch_scale,
            wiring=wiring,
        )
        recipe = Recipe.model_validate(
            {
                "epochs": epochs,
                "batch_size": batch_size,
                "weight_decay": weight_decay,
                "schedule": schedule,
                "augment": augment,
                "precision": precision,
            }
        )
        the_task = _task(task, noise_std, factor)
        if not 0 < lr < math.inf:
            raise ValueError(f"--lr must be above 0 (got {lr})")
        _check_output(output)
        lr_factors(lr_transfer, architecture)  # the rule cannot be followed by every network
        result = _run(
            console, architecture, the_task, recipe, lr, lr_transfer, seed, device, dataset, data_dir, fetch, output
        )
    if as_json:
        print(json.dumps(result))


def _run(
    console: Console,
    architecture: Architecture,
    task: Task,
    recipe: Recipe,
    lr: float,
    lr_transfer: LrTransfer,
    seed: int,
    device: str,
    key: str,
    data_dir: Path | None,
    fetch: bool,
    output: Path | None,
) -> dict[str, Any]:
    """Read, train, measure and save; the result as JSON carries it."""
    from workers.training.datasets import find_dataset, load_dataset
    from workers.training.network_file import save_network
    from workers.training.run_trial import BASE_SEED
    from workers.training.train import train as train_network

    dataset = find_dataset(key, data_dir)
    shape = task_shape(task, dataset)
    costs = known_costs(architecture, shape)  # before the images are read: a wrong shape shows at once
    where = torch_device(device)
    data = load_dataset(dataset, data_dir, fetch)
    with _progress(console, recipe) as show:
        training = train_network(
            architecture, task, recipe, lr, BASE_SEED + seed, data, where, show, lr_transfer=lr_transfer
        )
    if output is not None:
        output.write_bytes(save_network(training.network))
    console.print(_table(training, costs))
    return {
        "architecture": architecture.model_dump(mode="json"),
        "dataset": dataset.model_dump(mode="json", exclude_none=True),
        "digest": data.digest,
        "task": task.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
        "lr": lr,
        "seed": BASE_SEED + seed,
        "costs": costs.model_dump(exclude_none=True),
        "metrics": training.metrics,
        "trivial": training.trivial,
        "seconds": training.seconds,
        "projection_hash": training.projection_hash,
        "environment": training.environment,
        "output": None if output is None else str(output),
    }


def _task(kind: TaskKind, noise_std: float | None, factor: int | None) -> Task:
    given = {"noise_std": noise_std, "factor": factor}
    adapter: TypeAdapter[Task] = TypeAdapter(Task)
    options = {name: value for name, value in given.items() if value is not None}
    return adapter.validate_python({"kind": kind.value, **options})


def _check_output(output: Path | None) -> None:
    """Refuse a place that cannot be written before an hour of training, not after."""
    if output is not None and (output.is_dir() or not os.access(output.parent, os.W_OK)):
        raise ValueError(f"--output {output} cannot be written; name a file in a folder that exists")


@contextmanager
def _progress(console: Console, recipe: Recipe) -> Iterator[Any]:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} epochs"))
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:
        bar = progress.add_task("training", total=recipe.epochs)

        def show(epoch: int, metrics: dict[str, float]) -> None:
            description = f"train mse {metrics['train_mse']:.5f}, eval {metrics['psnr_db']:.2f} dB"
            progress.update(bar, completed=epoch + 1, description=description)

        yield show


def _table(training: "Training", costs: Costs) -> Table:
    table = Table(title=f"{costs.parameters_trainable:,} trainable weights, {training.seconds:.1f} s")
    for heading in ("metric", "eval", "test", "trivial answer (eval)"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for name, value in training.metrics["eval"].items():
        others = (training.metrics["test"][name], training.trivial[name])
        table.add_row(name, *(f"{number:.4f}" for number in (value, *others)))
    return table
