"""Our fronts beside the published ones, as numbers, then as tables and a figure. Leaves out the running (`front.py`).

A network that costs less than a budget is within it: where a range of parameters begins, cheaper networks stand at its
beginning.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import log10

import numpy as np
import plotly.graph_objects as go
from rich.table import Table

from benchmarks.front_space import MAIN_ARM, REFERENCE_QUANTILES, reference_db
from benchmarks.published_table import Configuration
from nas_service.analysis.charts import front_figure
from nas_service.domain.front import hypervolume, non_dominated
from nas_service.domain.records import StoredSearch
from nas_service.domain.states import TrialState
from nas_service.domain.trial import Trial, trial_points

Networks = list[tuple[int, float]]  # (parameters, PSNR of the evaluation split in dB) of each
UNION = "union"
ALL = "all published"
GRID = 10  # budgets of parameters
NONE = "-"


@dataclass(frozen=True)
class Run:
    """What was searched here, and what was published up to the same limit."""

    search: StoredSearch
    trials: list[Trial]  # all that ever were, refused ones included
    published: list[Configuration]  # of one budget, of any size
    published_epochs: int  # of one training

    @property
    def max_parameters(self) -> int:
        """The search's limit."""
        limit = self.search.spec.limits.max_parameters
        assert limit is not None, "every search of this benchmark has one"
        return limit

    @property
    def completed(self) -> list[Trial]:
        """The trials with a result."""
        return [trial for trial in self.trials if trial.state is TrialState.COMPLETED]

    @property
    def ours(self) -> dict[str, Networks]:
        """Our networks by arm, and all of them."""
        found = [(trial.arm, (_parameters(trial), _psnr_db(trial, "eval"))) for trial in self.completed]
        by_arm = {arm: [network for name, network in found if name == arm] for arm in self.search.spec.arms}
        return by_arm | {UNION: [network for _, network in found]}

    @property
    def theirs(self) -> dict[str, Networks]:
        """The published networks within the limit by arm, and all of them."""
        within = [row for row in self.published if row.params <= self.max_parameters]
        by_arm = {
            arm: _networks(row for row in within if row.arm == arm) for arm in sorted({row.arm for row in within})
        }
        return by_arm | {ALL: _networks(within)}

    @property
    def families(self) -> dict[str, Networks]:
        """The published networks within the limit by family."""
        within = [row for row in self.published if row.params <= self.max_parameters]
        families = sorted({row.architecture.family.value for row in within}, reverse=True)
        return {name: _networks(row for row in within if row.architecture.family == name) for name in families}

    @property
    def wall_time(self) -> timedelta:
        """How long at least one trial was training; interruptions are left out."""
        covered, until = timedelta(), datetime.min.replace(tzinfo=UTC)
        spans = [(trial.leased_at, trial.finished_at) for trial in self.trials]
        for begin, end in sorted((begin, end) for begin, end in spans if begin and end):
            covered += max(end - max(begin, until), timedelta())
            until = max(until, end)
        return covered


def best_within(networks: Networks, parameters: float) -> float | None:
    """The best PSNR of a network that is not larger; None when there is none."""
    return max((psnr_db for size, psnr_db in networks if size <= parameters), default=None)


def hypervolume_within(networks: Networks, low: int, high: int, reference_db: float) -> float:
    """What the networks dominate between `low` and `high` parameters above the reference, in decades times dB."""
    points = np.array([(log10(max(size, low)), -psnr_db) for size, psnr_db in networks]).reshape(-1, 2)
    return hypervolume(points, np.array([log10(high), -reference_db]))


def share_reached(ours: Networks, theirs: Networks, reference_db: float) -> float | None:
    """Our hypervolume over theirs, from their smallest network to their largest; None when theirs is nothing."""
    sizes = [size for size, _ in theirs]
    ends = min(sizes), max(sizes)
    volume = hypervolume_within(theirs, *ends, reference_db)
    return hypervolume_within(ours, *ends, reference_db) / volume if volume > 0 else None


def union_front(run: Run) -> list[Trial]:
    """The trials that none of ours dominates, smallest first."""
    completed = run.completed
    keep = non_dominated(trial_points(completed, run.search.spec.objectives))
    return sorted((trial for trial, stays in zip(completed, keep, strict=True) if stays), key=_parameters)


def budgets_table(run: Run) -> Table:
    """The best network within each budget of parameters, published and ours."""
    sizes = [size for size, _ in run.theirs[ALL]]
    table = Table(title="Best PSNR (dB, evaluation split) within a budget of trained parameters")
    columns = {f"published {family}": found for family, found in run.families.items()} | run.ours
    _add_columns(table, "parameters", *columns, f"{UNION} - published")
    for budget in np.geomspace(min(sizes), max(sizes), GRID).round().astype(int):
        cells = [_text(best_within(networks, budget), ".3f") for networks in columns.values()]
        table.add_row(f"{budget:,}", *cells, _difference(run, budget))
    return table


def hypervolume_table(run: Run, quantile: float) -> Table:
    """Our share of each published front's hypervolume above a reference, within that front's own range."""
    reference = reference_db(run.published, run.max_parameters, quantile)
    table = Table(
        title=f"Share of each published front's hypervolume (log10 parameters x dB above {reference} dB)",
        caption=f"{reference} dB: the {quantile:.0%} quantile of {MAIN_ARM}. Range: each front's smallest to largest "
        f"network of up to {run.max_parameters:,}",
    )
    _add_columns(table, "ours", *run.theirs)
    for name, networks in run.ours.items():
        shares = [share_reached(networks, theirs, reference) for theirs in run.theirs.values()]
        table.add_row(name, *(_text(share, ".4f") for share in shares))
    return table


def spending_table(run: Run) -> Table:
    """What every arm took, ours and published."""
    table = Table(title="Spent", caption="the published arms took a grid")
    _add_columns(table, "arm", "trained", "epochs", "epochs within the limit", "refused", "failed", "hours of training")
    for arm in run.search.spec.arms:
        trials = [trial for trial in run.trials if trial.arm == arm]
        counts = {state: sum(trial.state is state for trial in trials) for state in TrialState}
        epochs = f"{sum(trial.epochs_done for trial in trials):,}"
        hours = f"{sum(trial.seconds or 0 for trial in trials) / 3600:.2f}"
        refused, failed = str(counts[TrialState.REFUSED]), str(counts[TrialState.FAILED])
        table.add_row(arm, str(counts[TrialState.COMPLETED]), epochs, epochs, refused, failed, hours)
    for arm in [name for name in run.theirs if name != ALL]:
        rows = [row for row in run.published if row.arm == arm]
        runs = sum(len(row.psnr_db) for row in rows)
        within = sum(len(row.psnr_db) for row in rows if row.params <= run.max_parameters)
        spent = [f"{count * run.published_epochs:,}" for count in (runs, within)]
        table.add_row(f"published {arm}", f"{runs:,}", *spent, NONE, NONE, NONE)
    return table


def union_table(run: Run) -> Table:
    """Our union front, network by network, beside the best published one that is not larger."""
    smallest = min(size for size, _ in run.theirs[ALL])
    front = union_front(run)
    below = sum(_parameters(trial) < smallest for trial in front)
    table = Table(
        title="The union front",
        caption=f"{below} of its {len(front)} networks are below {smallest:,} parameters, the smallest published",
    )
    _add_columns(table, "parameters", "arm", "d_z/d_h x depth", "lr", "eval dB", "test dB", "eval - published")
    for trial in front:
        shape = trial.architecture
        assert shape is not None, "a completed trial has one"
        table.add_row(
            f"{_parameters(trial):,}",
            trial.arm,
            f"{shape.d_z}/{shape.d_h} x {shape.depth}",
            f"{trial.lr:.3g}",
            f"{_psnr_db(trial, 'eval'):.3f}",
            f"{_psnr_db(trial, 'test'):.3f}",
            _difference(run, _parameters(trial)),
        )
    return table


def tables_of(run: Run) -> list[Table]:
    """The whole report, but for its sentences."""
    hypervolumes = [hypervolume_table(run, quantile) for quantile in reversed(REFERENCE_QUANTILES)]
    return [budgets_table(run), union_table(run), spending_table(run), *hypervolumes]


def sentences_of(run: Run) -> str:
    """How long it took, on what, and how far the figures carry."""
    environments = {
        (str(trial.environment.get("device")), str(trial.environment.get("precision")))
        for trial in run.completed
        if trial.environment
    }
    seeds = {len(row.psnr_db) for row in run.published}
    return "\n".join(
        [
            f"{run.search.name}: {run.search.state}, {len(run.completed)} trials completed, "
            f"{str(run.wall_time).split('.')[0]} in which something trained, on "
            + (" and ".join(f"{device} in {precision}" for device, precision in sorted(environments)) or "nothing"),
            f"sampler {run.search.spec.sampler}, seed {run.search.spec.seed}",
            "The best of many trials on the evaluation split is optimistic, published and ours alike. "
            f"Ours are one seed each, the published ones means over {min(seeds)} to {max(seeds)}.",
        ]
    )


def figure_of(run: Run) -> go.Figure:
    """The search's own plot with the published fronts as dotted lines."""
    figure = front_figure(run.search, run.completed)
    for arm, networks in run.theirs.items():
        if arm == ALL:
            continue
        points = np.array([(size, -psnr_db) for size, psnr_db in sorted(networks)])
        sizes, losses = points[non_dominated(points)].T
        look = {"mode": "lines+markers", "line": {"shape": "hv", "dash": "dot"}}
        figure.add_scatter(x=sizes, y=-losses, name=f"published {arm}", **look)
    return figure


def _networks(rows: Iterable[Configuration]) -> Networks:
    return [(row.params, row.mean_psnr_db) for row in rows]


def _parameters(trial: Trial) -> int:
    assert trial.costs is not None, "a completed trial has costs"
    return trial.costs.parameters_trainable


def _psnr_db(trial: Trial, split: str) -> float:
    assert trial.metrics is not None, "a completed trial has metrics"
    return float(trial.metrics[split]["psnr_db"])


def _difference(run: Run, parameters: float) -> str:
    """Our best within a budget less the best published one."""
    ours, theirs = (best_within(found, parameters) for found in (run.ours[UNION], run.theirs[ALL]))
    return _text(None if ours is None or theirs is None else ours - theirs, "+.3f")


def _text(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)


def _add_columns(table: Table, first: str, *others: str) -> None:
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right")
