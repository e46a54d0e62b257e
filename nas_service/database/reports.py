"""Queries on the reports that workers send while they train, one row an epoch of each network, and on the rungs."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, delete, insert, select, tuple_

from nas_service.database.clock import now
from nas_service.database.tables import reports, rungs, trials
from nas_service.domain.stopping import Standing
from nas_service.domain.trial import Trial


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


def reports_at_epoch(connection: Connection, trial_id: int, epoch: int) -> list[dict[str, Any]]:
    """The metrics after an epoch of those of the trial's networks that have reported it."""
    query = select(reports.c.metrics).where(reports.c.trial_id == trial_id, reports.c.epoch == epoch)
    return list(connection.execute(query.order_by(reports.c.training)).scalars())


def standings_of_trial(connection: Connection, trial_id: int) -> list[Standing]:
    """How the trial stood at each rung that it has reached, in order."""
    columns = [rungs.c[name] for name in Standing.model_fields]
    query = select(*columns).where(rungs.c.trial_id == trial_id).order_by(rungs.c.epoch)
    return [Standing.model_validate(dict(row)) for row in connection.execute(query).mappings()]


def values_at_rung(connection: Connection, search_id: int, arm: str, epoch: int) -> list[list[float]]:
    """What every trial of an arm that has reached a rung brought there."""
    query = select(rungs.c["values"]).join(trials, trials.c.id == rungs.c.trial_id)
    here = query.where(trials.c.search_id == search_id, trials.c.arm == arm, rungs.c.epoch == epoch)
    return list(connection.execute(here).scalars())


def insert_at_rung(connection: Connection, trial: Trial, values: Sequence[float], standing: Standing) -> None:
    """Store that the trial has reached a rung: what it brought, and how it stood."""
    row = {"trial_id": trial.id, "values": list(values), **standing.model_dump()}
    connection.execute(insert(rungs).values(**row))
