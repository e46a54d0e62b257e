"""How fast the trainer is: epochs a minute against a plain PyTorch program, and the share of the arithmetic limit.

    HOURGLASS_DATA_DIR=DATA python benchmarks/trainer.py --seconds 20

Denoising in batches of 128, as published. All rivals of a shape take turns on one machine; the medians over turns are
printed. Nothing else should run there: beside a busy neighbour the threads of the plain program wait for each other and
its figure as started is worth nothing, so the table says how many cores others kept busy. Three shapes take some 8
minutes. `--psnr` trains to the end instead, to see that nobody is fast by training worse. Leaves out GPUs.
"""

import argparse
import json
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, median

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.arithmetic import Limit, measure_limit, parse_shape, step_gemms
from benchmarks.equality import final_psnr_db, text_of
from benchmarks.machine import Machine, this_machine
from benchmarks.rivals import Job, work_ours, work_plain
from benchmarks.turns import Heat, Rival
from nas_service.domain.architecture import TaskShape
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Dataset, Denoising, task_shape
from workers.training.train import steps_per_epoch

SHAPES = ("hourglass:785/115x5", "hourglass:2120/115x8", "conventional:784/2870x2")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
QUIET_CORES = 0.1  # that others may keep busy
PLAIN, PLAIN_EACH = "plain, as started", "plain, one per core"


@dataclass(frozen=True)
class Figure:
    """What one rival did."""

    name: str
    processes: int
    threads: int  # of each process
    step_ms: float  # of one process
    epochs_per_minute: float  # of all processes, training alone
    epochs_per_minute_with_evaluation: float | None  # ours: with the evaluation that follows each epoch
    other_cores: float | None  # that other programs kept busy meanwhile


@dataclass(frozen=True)
class Result:
    """All rivals of one shape."""

    shape: str
    figures: dict[str, Figure]
    limits: dict[str, Limit]  # by precision

    def times(self, name: str, rival: str) -> float:
        """How many times as many epochs a minute."""
        return self.figures[name].epochs_per_minute / self.figures[rival].epochs_per_minute

    def share_of_limit(self, precision: str) -> float:
        """The arithmetic limit of a step over what one process takes for it."""
        return self.limits[precision].milliseconds / self.figures[ours_alone(precision)].step_ms


def ours_alone(precision: str) -> str:
    """The name of our trainer in one process."""
    return f"ours {precision}, one process"


def ours_each(precision: str) -> str:
    """The name of our trainer in a process for each core."""
    return f"ours {precision}, one per core"


def measure_shape(text: str, job: Job, cores: int, precisions: list[str], seconds: float, rounds: int) -> Result:
    """Let the rivals of a shape take turns, so many seconds each in all."""
    shape = task_shape(Denoising(kind="denoising"), job.dataset)
    limits = limits_of(job, shape, precisions)
    rivals = {
        **{ours_each(name): Rival(ours_each(name), work_ours, [(job, name)] * cores) for name in precisions},
        PLAIN: Rival(PLAIN, work_plain, [(job, None)]),
        PLAIN_EACH: Rival(PLAIN_EACH, work_plain, [(job, 1)] * cores),
    }
    entries: list[tuple[str, str, int | None]]  # (name, whose processes, how many of them: None for all)
    entries = [(ours_alone(name), ours_each(name), 1) for name in precisions]
    entries += [(name, name, None) for name in rivals]
    heats: dict[str, list[Heat]] = {name: [] for name, _, _ in entries}
    try:
        for rival in rivals.values():
            rival.warm_up()
        for _ in range(rounds):
            for name, rival_name, processes in entries:
                heats[name].append(rivals[rival_name].take_turn(seconds / rounds, processes))
    finally:
        for rival in rivals.values():
            rival.end()
    again = limits_of(job, shape, precisions)
    fastest = {name: min(limits[name], again[name], key=lambda limit: limit.milliseconds) for name in precisions}
    steps = epoch_steps(job)
    figures = {name: figure_of(name, heats[name], rivals[rival], steps) for name, rival, _ in entries}
    return Result(text, figures, fastest)


def figure_of(name: str, heats: list[Heat], rival: Rival, steps: int) -> Figure:
    """Medians over turns, in epochs of so many steps."""
    rate, processes = median(heat.steps_per_second for heat in heats), len(heats[0].laps)
    others = [heat.other_cores for heat in heats if heat.other_cores is not None]
    with_evaluation = None
    if rival.facts[0].evaluation_seconds is not None:
        evaluation = fmean(facts.evaluation_seconds for facts in rival.facts)
        with_evaluation = 60 * processes / (steps * processes / rate + evaluation)
    return Figure(
        name,
        processes,
        threads=rival.facts[0].threads,
        step_ms=1e3 * processes / rate,
        epochs_per_minute=60 * rate / steps,
        epochs_per_minute_with_evaluation=with_evaluation,
        other_cores=median(others) if others else None,
    )


def epoch_steps(job: Job) -> int:
    """Batches in an epoch."""
    images = job.dataset.images_per_epoch
    assert images is not None
    return steps_per_epoch(images, Recipe(batch_size=job.batch_size))


def limits_of(job: Job, shape: TaskShape, precisions: list[str]) -> dict[str, Limit]:
    """The arithmetic limit in each precision, measured in a process of its own with one thread."""
    with ProcessPoolExecutor(
        1, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        gemms = step_gemms(job.architecture, shape)
        return {name: pool.submit(measure_limit, gemms, job.batch_size, DTYPES[name]).result() for name in precisions}


def table_of(result: Result) -> Table:
    """The figures of a shape."""
    busiest = max((figure.other_cores or 0.0 for figure in result.figures.values()), default=0.0)
    loud = f"NOT QUIET: others kept up to {busiest:.1f} cores busy; do not quote these ratios"
    table = Table(title=result.shape, caption=loud if busiest > QUIET_CORES else None)
    table.add_column("trainer", no_wrap=True)
    headings = (
        "processes x threads",
        "ms a step",
        "epochs a minute",
        "with evaluation",
        "times plain",
        "others' cores",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for name, figure in result.figures.items():
        evaluated = figure.epochs_per_minute_with_evaluation
        table.add_row(
            name,
            f"{figure.processes} x {figure.threads}",
            f"{figure.step_ms:.2f}",
            f"{figure.epochs_per_minute:.2f}",
            "" if evaluated is None else f"{evaluated:.2f}",
            f"{result.times(name, PLAIN):.2f}",
            "" if figure.other_cores is None else f"{figure.other_cores:.1f}",
        )
    return table


def sentences_of(result: Result) -> str:
    """The ratios and the shares of the limit, a line each."""
    lines = []
    for precision, limit in result.limits.items():
        each, alone = ours_each(precision), result.figures[ours_alone(precision)]
        count = {2: "two"}.get(result.figures[PLAIN_EACH].processes, str(result.figures[PLAIN_EACH].processes))
        lines += [
            f"{precision}: {result.times(each, PLAIN):.1f} times the default plain program per machine",
            f"{precision}: {result.times(each, PLAIN_EACH):.1f} times {count} of them on one thread each",
            f"{precision}: {limit.milliseconds:.2f} ms of arithmetic ({limit.macs / 1e6:,.0f} million multiply-adds at "
            f"{limit.gflops:,.0f} GFLOP/s) / {alone.step_ms:.2f} ms a step = {result.share_of_limit(precision):.0%}",
        ]
    return "\n".join(lines)


def as_json(machine: Machine, results: list[Result]) -> str:
    """Everything that was measured, on one line."""
    rows = [{**asdict(result), "figures": [asdict(figure) for figure in result.figures.values()]} for result in results]
    return json.dumps({"machine": asdict(machine), "results": rows})


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; the exit code."""
    given = _arguments(arguments)
    machine = this_machine()
    console = Console(stderr=given.json, width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(machine.text, soft_wrap=True)
    job = Job(parse_shape(given.shapes[0]), given.batch_size, Dataset(name=given.dataset), given.datasets)
    if given.psnr:
        found = final_psnr_db(job, given.epochs, machine.cores)
        console.print(f"{given.shapes[0]}, {given.epochs} epochs, PSNR on the evaluation split:\n{text_of(found)}")
        return 0
    precisions = ["fp32", "bf16"] if machine.has_bf16 else ["fp32"]
    results = []
    for text in given.shapes:
        this = replace(job, architecture=parse_shape(text))
        results.append(measure_shape(text, this, machine.cores, precisions, given.seconds, given.rounds))
        console.print(table_of(results[-1]))
        console.print(sentences_of(results[-1]))
    if given.json:
        print(as_json(machine, results))
    return 0


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure the trainer against a plain PyTorch program.")
    parser.add_argument("--shapes", nargs="+", default=list(SHAPES), metavar="FAMILY:D_Z/D_HxDEPTH[:W_IN[:W_OUT]]")
    parser.add_argument("--seconds", type=float, default=20, help="of each rival of each shape, in all its turns")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each rival; the median counts")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--dataset", default="mnist", help="a known name")
    folder = os.environ.get("HOURGLASS_DATA_DIR")
    parser.add_argument("--datasets", type=Path, default=folder and Path(folder), help="folder of datasets")
    parser.add_argument("--json", action="store_true", help="one line of JSON on stdout, the tables on stderr")
    parser.add_argument("--psnr", action="store_true", help="train the first shape to the end and compare the quality")
    parser.add_argument("--epochs", type=int, default=30, help="of --psnr")
    given = parser.parse_args(arguments)
    try:
        for text in given.shapes:
            parse_shape(text)
    except ValueError as error:
        parser.error(str(error))
    if min(given.seconds, given.rounds, given.batch_size, given.epochs) <= 0:
        parser.error("--seconds, --rounds, --batch-size and --epochs must be above 0")
    return given


if __name__ == "__main__":
    sys.exit(main())
