"""One search on the scheduler's desk: its arms' studies in memory, and the last event that they were told.

Everything here can be thrown away and read anew from the rows at any time.
"""

from nas_service.database import Connection
from nas_service.database.events import events_after
from nas_service.database.trials import history_of_arm, history_row
from nas_service.domain.allocation import Growth
from nas_service.domain.records import HistoryRow, StoredSearch
from nas_service.domain.search import Search
from nas_service.domain.states import TRIAL_TRANSITIONS, TrialState
from nas_service.domain.trial import Ask, AskedAfter, Proposal, objective_values, standard_errors
from nas_service.lifecycle.control import require_search
from nas_service.optimizer import ArmStudy, Record, outcome_of

# Refused proposals are told when they are asked.
ENDED = {f"trial_{state}" for state in TrialState if not TRIAL_TRANSITIONS[state]} - {"trial_refused"}


class Desk:
    """A running search as the scheduler holds it."""

    def __init__(self, search: StoredSearch) -> None:
        self.search_id = search.id
        self.told = search.last_event  # number of the last event that the studies know of
        self.unwritten: list[tuple[str, int, Ask]] = []  # (arm, number, ask) that users' trials still lack
        self._spec = search.spec
        self._studies: dict[str, ArmStudy] = {}
        self._running: dict[str, set[int]] = {}  # per arm: numbers without an end
        self.growth = Growth(search.spec.objectives)
        self._trivial = search.trivial

    @classmethod
    def load(cls, connection: Connection, search_id: int) -> "Desk":
        """Read a search and rebuild its studies."""
        search = require_search(connection, search_id)
        desk = cls(search)
        ended: list[tuple[int, str, HistoryRow]] = []
        for arm in search.spec.arms:
            rows = history_of_arm(connection, search_id, arm)
            ended += [(row.ended_event, arm, row) for row in rows if row.ended_event is not None]
            records = desk._complete_records(arm, rows)
            desk._studies[arm] = ArmStudy.rebuild(search.spec, arm, records, search.trivial)
            desk._running[arm] = {record.number for record in records if record.outcome is None}
        for _, arm, row in sorted(ended, key=lambda end: end[0]):
            desk._note_growth(arm, row)
        return desk

    def catch_up(self, connection: Connection) -> None:
        """Tell the studies what happened since they were last told."""
        while events := events_after(connection, self.search_id, self.told):
            if self._trivial is None:
                self._learn_trivial(require_search(connection, self.search_id).trivial)
            for event in events:
                if event.data.get("origin") == "enqueued":
                    assert event.trial_id is not None
                    self._place(event.data["arm"], history_row(connection, event.trial_id))
                elif event.kind in ENDED:
                    assert event.trial_id is not None
                    self._tell(event.data["arm"], history_row(connection, event.trial_id))
                self.told = event.number

    def propose(self, arm: str) -> tuple[list[Proposal], bool, AskedAfter]:
        """Ask the arm's study.

        Returns:
            the proposals to store, refused ones first; whether the last one is to be trained (else no legal shape is
            left); and what was known when they were asked.
        """
        asked_after = AskedAfter(event=self.told, running=tuple(sorted(self._running[arm])))
        answer = self._studies[arm].propose()
        proposals = [*answer.refused, answer.accepted] if answer.accepted else list(answer.refused)
        if answer.accepted:
            self._running[arm].add(answer.accepted.number)
        return proposals, answer.accepted is not None, asked_after

    def _tell(self, arm: str, row: HistoryRow) -> None:
        outcome = record_of(self._spec, row).outcome
        assert outcome is not None, "its event says that it has ended"
        self._studies[arm].tell(row.number, outcome)
        self._running[arm].discard(row.number)
        self._note_growth(arm, row)

    def _note_growth(self, arm: str, row: HistoryRow) -> None:
        if self._spec.allocation == "adaptive":
            outcome = record_of(self._spec, row).outcome
            values = outcome.values if outcome else ()
            self.growth.note(arm, row.spending, values, self._spec.reference_point(self._trivial))

    def _learn_trivial(self, trivial: dict[str, float] | None) -> None:
        """Take in the metrics of the trivial answer, which the first result brings."""
        self._trivial = trivial
        for study in self._studies.values():
            study.trivial = trivial

    def _place(self, arm: str, row: HistoryRow) -> None:
        """Give a user's trial its place in the study."""
        assert row.architecture is not None, "only a legal architecture can be enqueued"
        asked_lr = self._spec.arms[arm].lr_values or row.lr  # of a list, a trial that has ended keeps the best alone
        proposal = self._studies[arm].enqueue(row.architecture, asked_lr)
        assert proposal.number == row.number, "numbers are taken in order"
        self.unwritten.append((arm, row.number, proposal.ask))
        self._running[arm].add(row.number)

    def _complete_records(self, arm: str, rows: list[HistoryRow]) -> list[Record]:
        """The arm's history for the optimizer; a user's trial that never got its place gets it here."""
        records: list[Record] = []
        for row in rows:
            if row.ask is None:
                self._studies[arm] = ArmStudy.rebuild(self._spec, arm, records, self._trivial)
                self._running[arm] = set()
                self._place(arm, row)
                row = row.model_copy(update={"ask": self.unwritten[-1][2]})
            records.append(record_of(self._spec, row))
        return records


def record_of(search: Search, row: HistoryRow) -> Record:
    """A trial's row as the optimizer wants it."""
    values: list[float | None] = []
    errors: tuple[float | None, ...] = ()
    if row.state is TrialState.COMPLETED and row.costs is not None:
        names = [objective.name for objective in search.objectives]
        values = objective_values(names, row.costs, row.metrics)
        errors = standard_errors(names, row.lr, row.replicates or ())
    assert row.ask is not None, "every trial that the optimizer saw has one"
    return Record(number=row.number, ask=row.ask, outcome=outcome_of(row.state, row.reason, values, errors))
