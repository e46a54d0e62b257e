"""Results from elsewhere become results of a search: read from its neighbour's trials or a CSV, fitted to its arms.

Studies of Optuna are read in `optimizer/exchange.py`.
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from nas_service.domain.architecture import Architecture, IllegalArchitecture
from nas_service.domain.faults import faults_of
from nas_service.domain.finding import Finding, Findings, conditions_of, differences, finding_of_row
from nas_service.domain.published import BASE_SEED, published_recipe, published_task
from nas_service.domain.published_table import COLUMNS as PUBLISHED
from nas_service.domain.published_table import EVAL, Configuration, configurations, published_runs
from nas_service.domain.search import Search
from nas_service.domain.states import TrialState
from nas_service.domain.trial import Trial, key_in_arm, objective_values
from nas_service.messages import OutsideResult, ReplicateResult

OURS = {*Architecture.model_fields, "state", "lr"}  # columns that tell our CSV
NOT_COMPLETED = "not completed"


class Unfit(ValueError):
    """What was found elsewhere is of no use to the search; the message says why."""


@dataclass(frozen=True)
class Fitted:
    """What of the findings is for a search."""

    results: list[OutsideResult]
    left_out: Counter[str]  # how many are not, by what they are

    @property
    def text(self) -> str:
        """What was left out, in words."""
        parts = [f"{count:,} {reason}" for reason, count in self.left_out.most_common()]
        return f"left out {self.left_out.total():,}" + (f" ({', '.join(parts)})" if parts else "")


# ---- where results are found


def findings_of_search(search_id: int, search: Search, trials: Iterable[Trial]) -> Findings:
    """The completed trials of another search."""
    found, left_out = [], Counter[str]()
    for trial in sorted(trials, key=lambda trial: trial.id):
        if trial.state is not TrialState.COMPLETED:
            left_out[NOT_COMPLETED] += 1
            continue
        assert trial.architecture is not None, "it was trained"
        finding = Finding(
            architecture=trial.architecture,
            lr=trial.lr,
            metrics=trial.metrics,
            replicates=trial.replicates,
            source=f"search {search_id}, trial {trial.id}",
        )
        found.append(finding)
    return Findings(found, left_out, conditions_of(search))


def findings_of_csv(path: Path, search: Search) -> Findings:
    """The completed trials in a CSV that we wrote, or the published runs of the search's task and recipe in a table.

    Raises:
        Unfit: when the file is neither, or cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
        columns = set(next(csv.reader([text.partition("\n")[0]]), []))
        if columns >= set(PUBLISHED):
            return _published(path.name, text, search)
        if columns >= OURS:
            return _ours(path.name, text)
    except OSError as error:
        raise Unfit(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, csv.Error) as error:
        raise Unfit(f"cannot read {path}: {error}") from error
    raise Unfit(
        f"{path} is neither a CSV of `hourglass trials` (columns {', '.join(sorted(OURS))} and others) nor a table of "
        f"published runs (columns {', '.join(PUBLISHED)})"
    )


def _ours(name: str, text: str) -> Findings:
    found, left_out = [], Counter[str]()
    reader = csv.DictReader(io.StringIO(text, newline=""))
    for row in reader:
        if row["state"] != TrialState.COMPLETED:
            left_out[NOT_COMPLETED] += 1
            continue
        try:
            found.append(finding_of_row(row, source=f"{name}, trial {row.get('id')}"))
        except ValidationError as error:
            fault = faults_of(error)[0]
            raise ValueError(f"line {reader.line_num}: {fault.field} {fault.message}".replace(" .", " ")) from error
        except (ValueError, TypeError) as error:
            raise ValueError(f"line {reader.line_num}: {error}") from error
    return Findings(found, left_out)


def _published(name: str, text: str, search: Search) -> Findings:
    runs = [run for run in published_runs(io.StringIO(text, newline="")) if run.metric == EVAL]
    found, left_out = [], Counter[str]()
    for task, budget in dict.fromkeys((run.task, run.budget) for run in runs):
        rows = configurations((run for run in runs if run.task == task), budget)
        if not _is_task_of(search, task):
            left_out["of another task"] += len(rows)
        elif not _is_recipe_of(search, budget):
            left_out["of another budget"] += len(rows)
        else:
            found += [_published_finding(row, f"{name}, {row.name} of {budget}") for row in rows]
    return Findings(found, left_out)


def _is_task_of(search: Search, name: str) -> bool:
    try:
        dataset, task = published_task(name)
    except ValueError:
        return False
    return dataset.name == search.dataset.name and task == search.task


def _is_recipe_of(search: Search, budget: str) -> bool:
    """The same training but for its precision, of which the table says nothing, and the number of seeds."""
    free = {"precision", "replicates"}
    return published_recipe(budget).model_dump(exclude=free) == search.recipe.model_dump(exclude=free)


def _published_finding(row: Configuration, source: str) -> Finding:
    replicates = [
        ReplicateResult(
            run=place,
            replicate=place,
            seed=BASE_SEED + seed,
            lr=row.lr,
            metrics={"eval": {"psnr_db": psnr}},
            diverged_at_epoch=None,
        ).model_dump()
        for place, (seed, psnr) in enumerate(row.psnr_db)
    ]
    return Finding(
        architecture=row.architecture,
        lr=row.lr,
        metrics={"eval": {"psnr_db": row.mean_psnr_db}},
        replicates=replicates,
        source=source,
    )


# ---- what of them a search can take


def why_incomparable(search: Search, findings: Findings) -> str | None:
    """In what way the findings were trained for something else or differently; None when not, or when nobody knows."""
    if findings.conditions is None:
        return None
    return "; ".join(differences(conditions_of(search), findings.conditions)) or None


def fit(search: Search, findings: Findings, present: Iterable[Trial]) -> Fitted:
    """Give each finding the first arm whose region holds it.

    Of several that are the same trial to the arm the best counts.

    Args:
        search: as it was submitted.
        findings: from one place.
        present: the trials that the search has.
    """
    left_out = findings.left_out.copy()
    taken = set()
    for trial in present:
        if trial.architecture is not None and trial.state is not TrialState.REFUSED:
            taken.add((trial.arm, key_in_arm(search.arms[trial.arm], trial.architecture, trial.lr)))
    best: dict[tuple[str, str], Finding] = {}
    for finding in findings.found:
        try:
            place = _place(search, finding)
        except Unfit as error:
            left_out[str(error)] += 1
            continue
        if place in taken:
            left_out["already there"] += 1
        elif place in best:
            left_out["worse than the same with another seed or learning rate"] += 1
            best[place] = max(best[place], finding, key=lambda one: _merit(search, one))
        else:
            best[place] = finding
    return Fitted([_result(arm, finding) for (arm, _), finding in best.items()], left_out)


def _place(search: Search, finding: Finding) -> tuple[str, str]:
    """The arm that the finding is of, and its key there; raises Unfit."""
    shape = finding.architecture
    try:
        costs = search.costs_of(shape)
    except IllegalArchitecture as error:
        raise Unfit("of no arm") from error
    sizes = shape.d_z, shape.d_h, shape.depth
    for name, arm in search.arms.items():
        if not arm.faults_of(*sizes, finding.lr) and arm.architecture(*sizes) == shape:
            if search.limits.excess(costs) > 0:
                raise Unfit("over the limits")
            values = objective_values(search.objective_names, costs, finding.metrics)
            if None in values:
                raise Unfit(f"without {search.objectives[values.index(None)].name}")
            return name, key_in_arm(arm, shape, finding.lr)
    raise Unfit("of no arm")


def _merit(search: Search, finding: Finding) -> float:
    value = finding.metrics["eval"][search.quality.name]
    return value if search.quality.direction == "maximize" else -value


def _result(arm: str, finding: Finding) -> OutsideResult:
    shape = finding.architecture
    return OutsideResult(
        arm=arm,
        d_z=shape.d_z,
        d_h=shape.d_h,
        depth=shape.depth,
        lr=finding.lr,
        metrics=finding.metrics,
        replicates=list(finding.replicates),
        source=finding.source[:300],
    )
