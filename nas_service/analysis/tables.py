"""Trials as rows of a table, for CSV: one column a number, the same columns for every search."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nas_service.domain.architecture import Architecture
from nas_service.domain.costs import Costs
from nas_service.domain.objectives import MEASURED_COSTS, QUALITIES
from nas_service.domain.trial import Trial

_PLAIN_FRONT = ["id", "arm", "number", "state", "reason", "message", "origin", "on_front"]
_PLAIN_BACK = ["seed", "seconds", "epochs_done", "attempt", "worker_id", "queued_at", "leased_at", "finished_at"]
COLUMNS = [
    *_PLAIN_FRONT,
    *Architecture.model_fields,
    "lr",
    *Costs.model_fields,
    *MEASURED_COSTS,
    *(f"{split}_{name}" for split in ("eval", "test") for name in QUALITIES),
    "replicates",
    *_PLAIN_BACK,
]


def csv_lines(trials: Iterable[Trial]) -> Iterator[str]:
    """The header and a line a trial."""
    yield csv_line(COLUMNS)
    for trial in trials:
        yield csv_line(_cells(trial))


def csv_line(cells: Sequence[Any]) -> str:
    """One line of CSV; text that a spreadsheet would run as a formula is made plain text."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow([_harmless(cell) for cell in cells])
    return buffer.getvalue()


def _cells(trial: Trial) -> list[Any]:
    dumped = trial.model_dump(mode="json")
    architecture, costs = dumped["architecture"] or {}, dumped["costs"] or {}
    metrics = dumped["metrics"] or {}
    lr = dumped["lr"]
    return [
        *(dumped[name] for name in _PLAIN_FRONT),
        *(architecture.get(name) for name in Architecture.model_fields),
        " ".join(map(str, lr)) if isinstance(lr, list) else lr,
        *(costs.get(name) for name in Costs.model_fields),
        *(metrics.get("measured", {}).get(name) for name in MEASURED_COSTS),
        *(metrics.get(split, {}).get(name) for split in ("eval", "test") for name in QUALITIES),
        len(dumped["replicates"]),
        *(dumped[name] for name in _PLAIN_BACK),
    ]


def _harmless(cell: Any) -> Any:
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
