"""Searches as Optuna studies in any storage, for notebooks and optuna-dashboard; and results read from such studies.

One study an arm, called `NAME / ARM`. Values are in the objectives' own units, not as our samplers see them. A trial's
user attributes are the columns of our CSV, so that nothing is lost on the way there and back.
"""

import re
import sqlite3
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas_service.domain.arm import Arm
from nas_service.domain.costs import Costs
from nas_service.domain.finding import Finding, Findings, conditions_of, finding_of_row, flat_row
from nas_service.domain.objectives import MEASURED_COSTS
from nas_service.domain.search import Search
from nas_service.domain.trial import Trial, objective_values
from nas_service.optimizer.records import End, outcome_of
from nas_service.optimizer.space import Candidate, Space
from nas_service.optimizer.study import STATES

JOURNAL = "journal:"  # before the path of a file of Optuna's own
SQLITE = "sqlite:"
REPLICATES = "replicates"  # attribute of a trial: each network trained
CONDITIONS, ARM = "conditions", "arm"  # attributes of a study


class ExchangeError(Exception):
    """The storage or its studies do not allow this; the message says why."""


@dataclass(frozen=True)
class Exported:
    """What was written."""

    studies: dict[str, int]  # trials in each study, by its name
    left_out: int  # refused, queued and running trials


class _Hasty(sqlite3.Connection):
    """A copy that a crash may spoil: without it every trial waits for the disk, a second for a dozen of them."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.execute("PRAGMA synchronous = OFF")


def export_search(search: Search, trials: Sequence[Trial], url: str, name: str, overwrite: bool = False) -> Exported:
    """Write every ended trial of a search.

    Args:
        search: as it was submitted.
        trials: of it, in any order.
        url: of an Optuna storage: any that SQLAlchemy knows, or `journal:FILE`.
        name: of the studies, before their arms.
        overwrite: whether studies of these names are replaced.

    Raises:
        ExchangeError: when the storage cannot be opened, or has such studies and is to keep them.
    """
    storage = _open(url)
    names = {arm: f"{name} / {arm}" for arm in search.arms}
    there = sorted(set(optuna.get_all_study_names(storage)) & set(names.values()))
    if there and not overwrite:
        raise ExchangeError(f"{_safe(url)} has {', '.join(map(repr, there))} already; --overwrite replaces them")
    for study_name in there:
        optuna.delete_study(study_name=study_name, storage=storage)
    studies = {}
    for arm, study_name in names.items():
        rows = sorted((trial for trial in trials if trial.arm == arm), key=lambda trial: trial.number)
        copies = [copy for trial in rows if (copy := _copy(search, trial)) is not None]
        _create(search, arm, study_name, storage).add_trials(copies)
        studies[study_name] = len(copies)
    return Exported(studies, len(trials) - sum(studies.values()))


def findings_of_studies(url: str, name: str) -> Findings:
    """The completed trials of the study of that name, and of all studies `name / ARM`.

    Trials that were added to an exported study elsewhere are read by their parameters and values.

    Raises:
        ExchangeError: when the storage cannot be opened or has no such study.
    """
    if (path := path_of(url)) is not None and not path.exists():  # Optuna would make one
        raise ExchangeError(f"cannot open the storage {url}: there is no such file")
    storage = _open(url)
    names = optuna.get_all_study_names(storage)
    wanted = [found for found in names if found == name or found.startswith(f"{name} / ")]
    if not wanted:
        raise ExchangeError(f"{_safe(url)} has no study {name!r}; it has {', '.join(map(repr, names)) or 'none'}")
    found, left_out, conditions = [], Counter[str](), None
    for study_name in wanted:
        study = optuna.load_study(study_name=study_name, storage=storage)
        conditions = conditions or study.user_attrs.get(CONDITIONS)
        for trial in study.get_trials(deepcopy=False):
            if trial.state is not TrialState.COMPLETE:
                left_out["not completed"] += 1
            elif (finding := _finding(study, trial)) is None:
                left_out["without an architecture"] += 1
            else:
                found.append(finding)
    return Findings(found, left_out, conditions)


def _open(url: str) -> BaseStorage:
    try:
        if url.startswith(JOURNAL):
            return JournalStorage(JournalFileBackend(url.removeprefix(JOURNAL)))
        options = {"connect_args": {"factory": _Hasty}} if url.startswith(SQLITE) else {}
        return RDBStorage(url, engine_kwargs=options)
    except Exception as error:  # of SQLAlchemy, of the driver, of the file system
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ExchangeError(f"cannot open the storage {_safe(url)}: {reason}") from error


def path_of(url: str) -> Path | None:
    """The file that is the storage, where it is one."""
    for prefix in (JOURNAL, f"{SQLITE}///"):
        if url.startswith(prefix):
            return Path(url.removeprefix(prefix).partition("?")[0])
    return None


def _safe(url: str) -> str:
    """The URL without its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def _create(search: Search, arm: str, study_name: str, storage: BaseStorage) -> Study:
    study = optuna.create_study(
        storage=storage, study_name=study_name, directions=[objective.direction for objective in search.objectives]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study.set_metric_names(search.objective_names)
    study.set_user_attr(CONDITIONS, conditions_of(search))
    study.set_user_attr(ARM, search.arms[arm].model_dump(mode="json"))
    return study


def _copy(search: Search, trial: Trial) -> FrozenTrial | None:
    """A trial as Optuna keeps it; None of one that was refused or has not ended."""
    values: list[float | None] = []
    if trial.metrics is not None and trial.costs is not None:
        values = objective_values(search.objective_names, trial.costs, trial.metrics)
    outcome = outcome_of(trial.state, trial.reason, values)
    if outcome is None or outcome.end is End.REFUSED:
        return None
    assert trial.architecture is not None, "it was to be trained"
    shape, space = trial.architecture, Space(search.arms[trial.arm])
    attributes = {name: value for name, value in flat_row(trial).items() if value is not None}
    copy = create_trial(
        state=STATES[outcome.end],
        values=list(outcome.values) or None,
        params=space.encode(Candidate(shape.d_z, shape.d_h, shape.depth, trial.lr)),
        distributions=space.distributions,
        user_attrs=attributes | {REPLICATES: list(trial.replicates)},
    )
    copy.datetime_start = _local(trial.leased_at or trial.queued_at)
    copy.datetime_complete = _local(trial.finished_at or trial.queued_at)
    return copy


def _local(moment: datetime) -> datetime:
    """A moment as Optuna writes them."""
    return moment.astimezone().replace(tzinfo=None)


def _finding(study: Study, trial: FrozenTrial) -> Finding | None:
    """A completed trial of a study; None when nothing says its architecture."""
    source, attributes = f"study {study.study_name}, trial {trial.number}", trial.user_attrs
    if "family" in attributes:
        return finding_of_row(attributes, source, replicates=tuple(attributes.get(REPLICATES, ())))
    if ARM not in study.user_attrs or study.metric_names is None:
        return None
    arm = Arm.model_validate(study.user_attrs[ARM])
    d_z, d_h, depth, lr = Space(arm).decode(trial.params)
    metrics: dict[str, dict[str, float]] = {}
    for name, value in zip(study.metric_names, trial.values, strict=True):
        if name not in Costs.model_fields:
            metrics.setdefault("measured" if name in MEASURED_COSTS else "eval", {})[name] = value
    try:
        return Finding(architecture=arm.architecture(d_z, d_h, depth), lr=lr, metrics=metrics, source=source)
    except ValueError:
        return None
