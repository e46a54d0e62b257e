"""How fast samplers find the front: hypervolume after so many trials as a share of the best that there is.

    python benchmarks/samplers.py DATA/published/mnist_denoising.csv --processes 2

Nothing is trained: a smooth surrogate, fitted to the published runs of one arm and budget, gives the PSNR. Hypervolume
is over log10 of the weights and PSNR, up to the largest published network and the 30% quantile of PSNR; the frontier
sampler is told this reference, except where a line says otherwise. Aims, on MNIST denoising: 0.85 after 40 trials and
0.95 after 60; 8 asks in flight need at most 10% more trials; asks under 60 ms after 100 trials, 250 ms after 1,000. All
sections but `tables` take some 4 minutes on one core. Times are of one thread of the CPU; busy neighbours make them
longer still.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev

from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks.contest import Entry, Run, run, seconds_of_asks
from benchmarks.machine import this_machine
from benchmarks.published_table import Configuration, configurations, read_table
from benchmarks.surrogate import DenseFront, Surrogate

SECTIONS = ("front", "objectives", "parallel", "noise", "asks", "tables")
COUNTS = (20, 40, 60, 100, 200)  # trials after which the front is judged
GP_TRIALS = 40  # of Optuna's Gaussian process, which takes seconds an ask beyond
FINISHED, ASKS = (100, 1_000, 3_000), 50  # timed asks after so many trials
IN_FLIGHT, TARGETS = 8, (0.90, 0.95, 0.98)  # shares whose price in trials is compared
NOISES_DB = (0.02, 0.1)  # the first is that of seeds
LEAST_ROWS = 20  # of a table that `tables` takes
CONVERGED = 0.005  # relative, between two searches for the dense front


Map = Callable[[Callable[[int], Run], Iterable[int]], Iterator[Run]]  # the built-in one, or a pool's


@dataclass(frozen=True)
class Field:
    """What is searched, and by how many of each sampler."""

    name: str
    surrogate: Surrogate
    front: DenseFront
    seeds: int
    map: Map
    most_trials: int

    def runs(self, entry: Entry) -> list[Run]:
        """One for each seed."""
        return list(self.map(partial(run, self.surrogate, entry), range(self.seeds)))

    def entry(self, sampler: str, trials: int = max(COUNTS)) -> Entry:
        """A plain one."""
        return Entry(sampler, min(trials, self.most_trials))

    def shares(self, runs: Sequence[Run], trials: int) -> list[float]:
        """Of the dense front's hypervolume, one for each run."""
        return [run.volume(self.surrogate, trials) / self.front.volume for run in runs]

    def table(self, title: str, entries: dict[str, Entry]) -> Table:
        """The shares of all entries."""
        counts = [count for count in COUNTS if count <= max(entry.trials for entry in entries.values())]
        table = _table(f"{title}: share of the dense front, mean ± standard error of {self.seeds} seeds", "sampler")
        for heading in (*map(str, counts), "refused", "CPU ms an ask"):
            table.add_column(heading, justify="right")
        for name, entry in entries.items():
            runs = self.runs(entry)
            shares = [_with_error(self.shares(runs, count)) if count <= entry.trials else "" for count in counts]
            milliseconds = 1e3 * fmean(run.seconds for run in runs)
            table.add_row(name, *shares, f"{fmean(run.refused for run in runs):.1f}", f"{milliseconds:.1f}")
        return table


def front_section(field: Field, with_gp: bool) -> Table:
    """All samplers."""
    frontier = field.entry("frontier")
    entries = {"frontier": frontier, "frontier, no reference": replace(frontier, knows_reference=False)}
    entries |= {name: field.entry(name) for name in ("tpe", "nsga2", "random")}
    if with_gp:
        entries["gp"] = field.entry("gp", GP_TRIALS)
    return field.table(field.name, entries)


def asks_section(fields: Sequence[Field], finished: Sequence[int]) -> Table:
    """The time of asks, one after the other on one thread."""
    table = _table(
        f"frontier: CPU ms of {ASKS} consecutive asks with suggestions and tell, refits included", "objectives"
    )
    for heading in ("finished trials", "mean", "max"):
        table.add_column(heading, justify="right")
    for field in fields:
        for count in finished:
            seconds = seconds_of_asks(field.surrogate, field.front, count, ASKS)
            row = f"{1e3 * fmean(seconds):.0f}", f"{1e3 * max(seconds):.0f}"
            table.add_row(str(len(field.surrogate.directions)), f"{count:,}", *row)
    return table


def objectives_section(field: Field) -> Table:
    """A second known cost."""
    entries = {name: field.entry(name, trials=100) for name in ("frontier", "tpe", "nsga2", "random")}
    return field.table(f"{field.name}, 3 objectives", entries)


def parallel_section(field: Field) -> Table:
    """The price, in completed trials, of asking before the last ones are told."""
    alone = field.entry("frontier", trials=160)
    entries = (alone, replace(alone, in_flight=IN_FLIGHT))
    found = [field.runs(entry) for entry in entries]
    title = (
        f"{field.name}: completed trials that the frontier sampler needs, mean ± standard error of {field.seeds} seeds"
    )
    table = _table(title, "share of the dense front")
    for heading in ("one at a time", f"{IN_FLIGHT} in flight", "times as many", "never within", "of seeds"):
        table.add_column(heading, justify="right")
    for target in TARGETS:
        needed = [[run.trials_to(field.surrogate, target * field.front.volume) for run in runs] for runs in found]
        trials = [[number or alone.trials for number in numbers] for numbers in needed]
        never = sum(number is None for numbers in needed for number in numbers)
        table.add_row(
            f"{target:.2f}",
            *(_with_error(numbers, 1) for numbers in trials),
            f"{fmean(trials[1]) / fmean(trials[0]):.2f}",
            str(alone.trials) if never else "",
            str(never) if never else "",
        )
    return table


def noise_section(field: Field) -> Table:
    """PSNRs that are told with noise; what is chosen by them is judged without."""
    entries = {
        f"{name}, {noise_db:g} dB": replace(field.entry(name, trials=100), noise_db=noise_db)
        for noise_db in NOISES_DB
        for name in ("frontier", "tpe")
    }
    return field.table(f"{field.name}, noisy PSNR", entries)


def tables_section(fields: Sequence[Field]) -> Table:
    """Every arm and budget: nothing is tuned to one."""
    samplers, counts = ("frontier", "tpe", "random"), (20, 40)
    table = _table(f"share of the dense front after {counts[0]} and {counts[1]} trials, {fields[0].seeds} seeds", "")
    for heading in ("rows", "residual dB", *samplers):
        table.add_column(heading, justify="right")
    for field in fields:
        shares = []
        for sampler in samplers:
            runs = field.runs(field.entry(sampler, counts[-1]))
            shares.append(" ".join(f"{fmean(field.shares(runs, count)):.3f}" for count in counts))
        table.add_row(field.name, str(len(field.surrogate.psnr_db)), f"{field.surrogate.residual_db:.3f}", *shares)
    return table


def text_of(field: Field) -> str:
    """What is searched."""
    surrogate, front = field.surrogate, field.front
    *costs, psnr_db = surrogate.reference.tolist()
    reference = ", ".join([*(f"{10**cost:,.0f}" for cost in costs), f"{psnr_db:.2f} dB"])
    converged = "" if front.difference < CONVERGED else " NOT CONVERGED"
    return (
        f"{field.name}: {len(surrogate.psnr_db)} configurations, rms residual {surrogate.residual_db:.3f} dB; "
        f"reference {reference}; dense front up to {surrogate.values(front.x)[:, -1].max():.2f} dB (published "
        f"{surrogate.psnr_db.max():.2f}), hypervolume {front.volume:.4f}, two searches differ by "
        f"{front.difference:.3%}{converged}"
    )


def main(arguments: list[str] | None = None) -> int:
    """Fit, search, print; the exit code."""
    given = _arguments(arguments)
    console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)
    console.print(this_machine().text, soft_wrap=True)
    with ExitStack() as stack:
        stack.enter_context(threadpool_limits(1))
        try:
            for table in _tables(given, console, _map(given.processes, stack)):
                console.print(table)
        except (ValueError, OSError) as error:
            console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
            return 2
    return 0


def _tables(given: argparse.Namespace, console: Console, map_: Map) -> Iterator[Table]:
    """The sections asked for, one after the other."""

    def field_of(rows: Sequence[Configuration], name: str, known_costs: int = 1) -> Field:
        surrogate = Surrogate(rows, known_costs)
        field = Field(name, surrogate, DenseFront(surrogate), given.seeds, map_, given.trials)
        console.print(text_of(field), soft_wrap=True)
        return field

    runs, sections = read_table(given.table), set(given.sections)
    rows = [row for row in configurations(runs, given.budget) if row.arm == given.arm]
    if not rows:
        raise ValueError(f"the table has no arm {given.arm!r} in budget {given.budget!r}")
    name = f"{given.arm} {given.budget}"
    if sections - {"tables"}:
        field = field_of(rows, name)
    if sections & {"asks", "objectives"}:
        field_of_3 = field_of(rows, name, known_costs=2)
    if "front" in sections:
        yield front_section(field, given.gp)
    if "objectives" in sections:
        yield objectives_section(field_of_3)
    if "parallel" in sections:
        yield parallel_section(field)
    if "noise" in sections:
        yield noise_section(field)
    if "asks" in sections:
        yield asks_section([field, field_of_3], given.finished)
    if "tables" in sections:
        by_name = defaultdict(list)
        for budget in sorted({run.budget for run in runs}):
            for row in configurations(runs, budget):
                by_name[f"{row.arm} {budget}"].append(row)
        yield tables_section([field_of(rows, name) for name, rows in by_name.items() if len(rows) >= LEAST_ROWS])


def _map(processes: int, stack: ExitStack) -> Map:
    if processes == 1:
        return map
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=threadpool_limits, initargs=(1,))
    return stack.enter_context(pool).map


def _table(title: str, first: str) -> Table:
    table = Table(title=title)
    table.add_column(first, no_wrap=True)
    return table


def _with_error(numbers: Sequence[float], digits: int = 3) -> str:
    """The mean and its standard error."""
    error = stdev(numbers) / len(numbers) ** 0.5 if len(numbers) > 1 else 0.0
    return f"{fmean(numbers):.{digits}f} ± {error:.{digits}f}"


def _arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare samplers on a surrogate of published runs.")
    parser.add_argument("table", type=Path, metavar="TABLE.csv", help="published runs")
    parser.add_argument("--arm", default="hourglass_learned_in", help="as the table names it")
    parser.add_argument("--budget", default="bs128_ep30", help="as the table names it")
    parser.add_argument(
        "--sections", nargs="+", choices=SECTIONS, default=[*SECTIONS[:-1]], help="default: all but tables"
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=max(COUNTS), help="at most so many in a run, for a quick look")
    parser.add_argument(
        "--finished", type=int, nargs="+", default=FINISHED, help="trials before the asks that are timed"
    )
    parser.add_argument("--gp", action="store_true", help=f"Optuna's GPSampler as well, {GP_TRIALS} trials: minutes")
    parser.add_argument("--processes", type=int, default=1, help="searches at once, one thread each")
    given = parser.parse_args(arguments)
    if min(given.seeds, given.trials, given.processes, *given.finished) < 1:
        parser.error("--seeds, --trials, --processes and --finished must be 1 or more")
    return given


if __name__ == "__main__":
    sys.exit(main())
