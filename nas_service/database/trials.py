"""Queries on trials.

`insert_trial`, `insert_imported` and `move_trial` alone set a state; they keep the counts in `arms` true.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, bindparam, func, insert, select, update

from nas_service.database.clock import now
from nas_service.database.tables import arms, trials
from nas_service.domain.records import HistoryRow
from nas_service.domain.states import FIRST_STATES, TRIAL_TRANSITIONS, FailureReason, TrialState, check_trial_step
from nas_service.domain.trial import Ask, Trial

_TRIAL = [trials.c[name] for name in Trial.model_fields]
_HISTORY = [trials.c[name] for name in HistoryRow.model_fields]


def insert_trial(
    connection: Connection, search_id: int, arm: str, state: TrialState, spending: float, **columns: Any
) -> int:
    """Store a new trial, queued or refused; returns its id.

    `spending` is what the whole trial would take from the arm's budget; a refused one takes nothing.
    """
    assert state in FIRST_STATES - {TrialState.COMPLETED}
    row = {"search_id": search_id, "arm": arm, "state": state, "spending": spending, **columns}
    trial_id: int = connection.execute(
        insert(trials).values(**row, queued_at=now()).returning(trials.c.id)
    ).scalar_one()
    _count(connection, search_id, arm, {state: 1}, spending)
    return trial_id


def insert_imported(connection: Connection, search_id: int, arm: str, rows: Sequence[Mapping[str, Any]]) -> list[Trial]:
    """Store trials of an arm that were measured elsewhere, at least one: completed, outside the budget."""
    state, first = TrialState.COMPLETED, next_number(connection, search_id, arm)
    every = {"search_id": search_id, "arm": arm, "state": state, "origin": "imported"}
    numbered = [{**every, **row, "number": first + place} for place, row in enumerate(rows)]
    connection.execute(insert(trials).values(queued_at=now(), finished_at=now()), numbered)
    _count(connection, search_id, arm, {state: len(rows)}, spending=0, imported=len(rows))
    query = select(*_TRIAL).where(trials.c.search_id == search_id, trials.c.arm == arm, trials.c.number >= first)
    return _all(connection, query.order_by(trials.c.number))


def move_trial(
    connection: Connection, trial: Trial, state: TrialState, spending: float | None = None, **columns: Any
) -> None:
    """Change a trial's state and other columns; `spending` replaces what was planned.

    Raises:
        IllegalTransition: when there is no such step.
    """
    check_trial_step(trial.state, state)
    planned: float = connection.execute(select(trials.c.spending).where(trials.c.id == trial.id)).scalar_one()
    actual = planned if spending is None else spending
    values = {"state": state, "spending": actual, **columns}
    if not TRIAL_TRANSITIONS[state]:  # it has ended
        values |= {"finished_at": now(), "lease_expires_at": None, "request_id": None}
    connection.execute(update(trials).where(trials.c.id == trial.id).values(**values))
    _count(connection, trial.search_id, trial.arm, {trial.state: -1, state: 1}, actual - planned)


def next_number(connection: Connection, search_id: int, arm: str) -> int:
    """The number that the arm's next trial gets."""
    query = select(func.max(trials.c.number)).where(trials.c.search_id == search_id, trials.c.arm == arm)
    highest = connection.execute(query).scalar_one()
    return 0 if highest is None else int(highest) + 1


def number_of_duplicate(connection: Connection, search_id: int, arm: str, duplicate_key: str) -> int | None:
    """The number of the arm's trial that would train the same; None when there is none."""
    query = select(func.min(trials.c.number)).where(trials.c.search_id == search_id, trials.c.arm == arm)
    number: int | None = connection.execute(query.where(trials.c.duplicate_key == duplicate_key)).scalar_one()
    return number


def trials_that_train(connection: Connection, search_id: int, duplicate_keys: Iterable[str]) -> list[Trial]:
    """The search's trials, in any of its arms, that train or trained what one of these keys says."""
    query = select(*_TRIAL).where(trials.c.search_id == search_id, trials.c.duplicate_key.in_(list(duplicate_keys)))
    return _all(connection, query)


def set_asks(connection: Connection, search_id: int, asks: Sequence[tuple[str, int, Ask]]) -> None:
    """Store, by arm and number, what the optimizer needs to rebuild its study from trials that it did not propose."""
    these = (trials.c.arm == bindparam("of_arm"), trials.c.number == bindparam("of_number"))
    query = update(trials).where(trials.c.search_id == search_id, *these).values(ask=bindparam("its_ask"))
    rows = [{"of_arm": arm, "of_number": number, "its_ask": ask.model_dump(mode="json")} for arm, number, ask in asks]
    connection.execute(query, rows)


def trial_by_id(connection: Connection, trial_id: int) -> Trial | None:
    """The trial of that id."""
    return _first(connection, select(*_TRIAL).where(trials.c.id == trial_id))


def newest_trials(
    connection: Connection,
    search_id: int,
    limit: int,
    before_id: int | None = None,
    arm: str | None = None,
    state: TrialState | None = None,
) -> list[Trial]:
    """Trials of a search, newest first, from below `before_id`, of one arm and in one state where given."""
    query = select(*_TRIAL).where(trials.c.search_id == search_id).order_by(trials.c.id.desc()).limit(limit)
    if before_id is not None:
        query = query.where(trials.c.id < before_id)
    if arm is not None:
        query = query.where(trials.c.arm == arm)
    if state is not None:
        query = query.where(trials.c.state == state)
    return _all(connection, query)


def open_trials(connection: Connection, search_id: int) -> list[Trial]:
    """Trials of a search that are queued or leased, oldest first."""
    open_states = (TrialState.QUEUED, TrialState.LEASED)
    query = select(*_TRIAL).where(trials.c.search_id == search_id, trials.c.state.in_(open_states))
    return _all(connection, query.order_by(trials.c.id))


def trials_leased_to(connection: Connection, worker_id: str) -> list[Trial]:
    """The trials that a worker holds now, in order of their searches."""
    query = select(*_TRIAL).where(trials.c.worker_id == worker_id, trials.c.state == TrialState.LEASED)
    return _all(connection, query.order_by(trials.c.search_id, trials.c.id))


def front_trials(connection: Connection, search_id: int, arm: str | None = None) -> list[Trial]:
    """The trials on the front of each arm, or of one arm."""
    query = select(*_TRIAL).where(trials.c.search_id == search_id, trials.c.state == TrialState.COMPLETED)
    query = query.where(trials.c.on_front.is_(True)).order_by(trials.c.id)
    return _all(connection, query if arm is None else query.where(trials.c.arm == arm))


def set_on_front(connection: Connection, trial_ids: list[int], on_front: bool) -> None:
    """Put trials onto their arm's front or take them off."""
    connection.execute(update(trials).where(trials.c.id.in_(trial_ids)).values(on_front=on_front))


def history_of_arm(connection: Connection, search_id: int, arm: str) -> list[HistoryRow]:
    """Every trial of an arm in order of its number: what the optimizer rebuilds a study from."""
    query = select(*_HISTORY).where(trials.c.search_id == search_id, trials.c.arm == arm).order_by(trials.c.number)
    return [HistoryRow.model_validate(dict(row)) for row in connection.execute(query).mappings()]


def history_row(connection: Connection, trial_id: int) -> HistoryRow:
    """One trial as the optimizer needs it."""
    row = connection.execute(select(*_HISTORY).where(trials.c.id == trial_id)).mappings().one()
    return HistoryRow.model_validate(dict(row))


def count_replaced_failures(connection: Connection, search_id: int) -> int:
    """Failed trials of a search that did not count against its budget, so that others took their place."""
    query = select(func.count()).where(trials.c.search_id == search_id, trials.c.state == TrialState.FAILED)
    return connection.execute(query.where(trials.c.reason != FailureReason.DIVERGED)).scalar_one()


def points_of_search(connection: Connection, search_id: int) -> list[Trial]:
    """Every completed trial of a search, oldest first."""
    query = select(*_TRIAL).where(trials.c.search_id == search_id, trials.c.state == TrialState.COMPLETED)
    return _all(connection, query.order_by(trials.c.id))


def _count(
    connection: Connection, search_id: int, arm: str, change: dict[TrialState, int], spending: float, imported: int = 0
) -> None:
    values = {arms.c[state]: arms.c[state] + by for state, by in change.items() if by}
    values[arms.c.spending] = arms.c.spending + spending
    values[arms.c.imported] = arms.c.imported + imported
    connection.execute(update(arms).where(arms.c.search_id == search_id, arms.c.name == arm).values(values))


def _first(connection: Connection, query: Select[Any]) -> Trial | None:
    row = connection.execute(query).mappings().first()
    return _trial(row) if row else None


def _all(connection: Connection, query: Select[Any]) -> list[Trial]:
    return [_trial(row) for row in connection.execute(query).mappings()]


def _trial(row: RowMapping) -> Trial:
    return Trial.model_validate({**row, "replicates": row["replicates"] or ()})
