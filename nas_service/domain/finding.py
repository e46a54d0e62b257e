"""Results found elsewhere that may suit a search: where they come from, how they were trained, as one flat row each.

A flat row is what a line of our CSV holds, and what a trial exported to Optuna carries: one name a number or text.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nas_service.domain.architecture import Architecture
from nas_service.domain.costs import Costs
from nas_service.domain.objectives import MEASURED_COSTS, QUALITIES
from nas_service.domain.search import Search
from nas_service.domain.trial import Trial
from nas_service.domain.values import Value

_PLAIN_FRONT = ("id", "arm", "number", "state", "reason", "message", "origin", "on_front")
_PLAIN_BACK = ("seed", "seconds", "epochs_done", "attempt", "worker_id", "queued_at", "leased_at", "finished_at")
_METRICS = {
    **{name: ("measured", name) for name in MEASURED_COSTS},
    **{f"{split}_{name}": (split, name) for split in ("eval", "test") for name in QUALITIES},
}  # where each stands in a trial's metrics
COLUMNS = (
    *_PLAIN_FRONT,
    *Architecture.model_fields,
    "lr",
    *Costs.model_fields,
    *_METRICS,
    "replicates",
    *_PLAIN_BACK,
)


class Finding(Value):
    """One network that was trained and measured elsewhere."""

    architecture: Architecture
    lr: float
    metrics: dict[str, dict[str, float]]  # as a trial's
    replicates: tuple[dict[str, Any], ...] = ()  # as a trial's
    source: str  # people read it


@dataclass(frozen=True)
class Findings:
    """All results from one place."""

    found: list[Finding]
    left_out: Counter[str]  # how many others are none, by what they are
    conditions: dict[str, Any] | None = None  # under which they were trained; None where nobody wrote it down


def conditions_of(search: Search) -> dict[str, Any]:
    """What must be equal for results to be comparable; more replicates make the same thing more certain only."""
    dataset = search.dataset
    return {
        "dataset": {"name": dataset.key, "image_shape": list(dataset.shape), "digest": dataset.expected_digest},
        "task": search.task.model_dump(mode="json"),
        "recipe": search.recipe.model_dump(mode="json", exclude={"replicates"}),
        "device": {"name": search.device if search.measured_costs else None},
    }


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """In what two conditions differ, in words; a device matters only where we have measured costs."""
    found = []
    for part, here in ours.items():
        there = theirs.get(part) or {}
        if part != "device" or here["name"] is not None:
            names = [name for name in here | there if here.get(name) != there.get(name)]
            found += [f"{part}.{name} is {there.get(name)} there and {here.get(name)} here" for name in names]
    return found


def flat_row(trial: Trial) -> dict[str, Any]:
    """A trial under the names of `COLUMNS`; None where it has nothing."""
    dumped = trial.model_dump(mode="json")
    metrics = dumped["metrics"] or {}
    return {
        **{name: dumped[name] for name in (*_PLAIN_FRONT, "lr", *_PLAIN_BACK)},
        **dict.fromkeys(Architecture.model_fields) | (dumped["architecture"] or {}),
        **dict.fromkeys(Costs.model_fields) | (dumped["costs"] or {}),
        **{column: metrics.get(group, {}).get(name) for column, (group, name) in _METRICS.items()},
        "replicates": len(dumped["replicates"]),
    }


def finding_of_row(row: Mapping[str, Any], source: str, replicates: tuple[dict[str, Any], ...] = ()) -> Finding:
    """Read a flat row, also one whose values are text.

    Raises:
        ValueError: when it holds no architecture, or no number where there should be one.
    """
    metrics: dict[str, dict[str, float]] = {}
    for column, (group, name) in _METRICS.items():
        if row.get(column) not in (None, ""):
            metrics.setdefault(group, {})[name] = float(row[column])
    # a choice that an earlier version did not know stands at its default
    architecture = Architecture.model_validate({name: row[name] for name in Architecture.model_fields if name in row})
    return Finding(
        architecture=architecture, lr=float(row["lr"]), metrics=metrics, replicates=replicates, source=source
    )
