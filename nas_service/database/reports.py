"""Queries on the reports that workers send while they train: one row an epoch of each network."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, tuple_

from nas_service.database.clock import now
from nas_service.database.tables import reports


def insert_new_reports(connection: Connection, trial_id: int, rows: Sequence[tuple[int, int, dict[str, Any]]]) -> None:
    """Store (training, epoch, metrics) rows; those that are already there stay as they are."""
    keys = [(training, epoch) for training, epoch, _ in rows]
    known = select(reports.c.training, reports.c.epoch).where(
        reports.c.trial_id == trial_id, tuple_(reports.c.training, reports.c.epoch).in_(keys)
    )
    there = {tuple(row) for row in connection.execute(known)}
    new = [
        {"trial_id": trial_id, "training": training, "epoch": epoch, "metrics": metrics, "at": now()}
        for training, epoch, metrics in rows
        if (training, epoch) not in there
    ]
    for row in new:
        connection.execute(insert(reports).values(**row))


def delete_reports(connection: Connection, trial_id: int, since: float) -> None:
    """Forget the reports of a trial that came after a moment (seconds since 1970): it will train those epochs again."""
    connection.execute(delete(reports).where(reports.c.trial_id == trial_id, reports.c.at > since))


def reports_of_trial(connection: Connection, trial_id: int) -> list[dict[str, Any]]:
    """The trial's curve: training, epoch and metrics in order."""
    columns = (reports.c.training, reports.c.epoch, reports.c.metrics)
    query = select(*columns).where(reports.c.trial_id == trial_id).order_by(reports.c.training, reports.c.epoch)
    return [dict(row) for row in connection.execute(query).mappings()]
