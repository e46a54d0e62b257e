"""Trials as CSV: one column a number, the same columns for every search."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from nas_service.domain.cells import as_cell
from nas_service.domain.finding import COLUMNS, flat_row
from nas_service.domain.trial import Trial


def csv_lines(trials: Iterable[Trial]) -> Iterator[str]:
    """The header and a line a trial."""
    yield csv_line(COLUMNS)
    for trial in trials:
        yield csv_line(_cells(trial))


def csv_line(cells: Sequence[Any]) -> str:
    """One line of CSV; text that a spreadsheet would run as a formula is made plain text."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow([as_cell(cell) if isinstance(cell, str) else cell for cell in cells])
    return buffer.getvalue()


def _cells(trial: Trial) -> list[Any]:
    row = flat_row(trial)
    lr = row["lr"]
    row["lr"] = " ".join(map(str, lr)) if isinstance(lr, list) else lr
    return [row[name] for name in COLUMNS]
