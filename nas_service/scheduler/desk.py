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
from nas_service.optimizer import ArmStudy, Outcome, Record, outcome_of

GIVEN = ("enqueued", "imported")  # origins of trials that no study proposed
# Refused proposals are told when they are asked.
ENDED = {f"trial_{state}" for state in TrialState if not TRIAL_TRANSITIONS[state]} - {"trial_refused"}


class Desk:
    """A running search as the scheduler holds it."""

    def __init__(self, search: StoredSearch) -> None:
        self.search_id = search.id
        self.told = search.last_event  # number of the last event that the studies know of
        self.unwritten: list[tuple[str, int, Ask]] = []  # (arm, number, ask) that given trials still lack
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
            desk._studies[arm] = ArmStudy(search.spec, arm, search.trivial)
            desk._running[arm] = set()
            for row in rows:
                desk._restore(arm, row)
        for _, arm, row in sorted(ended, key=lambda end: end[0]):
            desk._note_growth(arm, row)
        return desk

    def catch_up(self, connection: Connection) -> None:
        """Tell the studies what happened since they were last told."""
        while events := events_after(connection, self.search_id, self.told):
            if self._trivial is None:
                self._learn_trivial(require_search(connection, self.search_id).trivial)
            for event in events:
                if (is_given := event.data.get("origin") in GIVEN) or event.kind in ENDED:
                    assert event.trial_id is not None
                    row = history_row(connection, event.trial_id)
                    if is_given:
                        self._place(event.data["arm"], row)
                    if event.kind in ENDED:
                        self._tell(event.data["arm"], row)
                        self._note_growth(event.data["arm"], row)
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
        outcome = end_of(self._spec, row)
        assert outcome is not None, "it has ended"
        self._studies[arm].tell(row.number, outcome)
        self._running[arm].discard(row.number)

    def _note_growth(self, arm: str, row: HistoryRow) -> None:
        if self._spec.allocation == "adaptive":
            outcome = end_of(self._spec, row)
            values = outcome.values if outcome else ()
            self.growth.note(arm, row.spending, values, self._spec.reference_point(self._trivial))

    def _learn_trivial(self, trivial: dict[str, float] | None) -> None:
        """Take in the metrics of the trivial answer, which the first result brings."""
        self._trivial = trivial
        for study in self._studies.values():
            study.trivial = trivial

    def _place(self, arm: str, row: HistoryRow) -> None:
        """Give a trial that no study proposed its place in one."""
        assert row.architecture is not None, "only a legal architecture can be given"
        asked_lr = self._spec.arms[arm].lr_values or row.lr  # of a list, a trial that has ended keeps the best alone
        proposal = self._studies[arm].enqueue(row.architecture, asked_lr)
        assert proposal.number == row.number, "numbers are taken in order"
        self.unwritten.append((arm, row.number, proposal.ask))
        self._running[arm].add(row.number)

    def _restore(self, arm: str, row: HistoryRow) -> None:
        """Write the arm's next row back into its study; a given trial that never got its place gets it here."""
        has_ended = not TRIAL_TRANSITIONS[row.state]
        if row.ask is None:
            self._place(arm, row)
            if has_ended:
                self._tell(arm, row)
        else:
            self._studies[arm].restore(record_of(self._spec, row))
            self._running[arm] |= set() if has_ended else {row.number}


def record_of(search: Search, row: HistoryRow) -> Record:
    """A trial's row as the optimizer wants it."""
    assert row.ask is not None, "every trial that the optimizer saw has one"
    return Record(number=row.number, ask=row.ask, outcome=end_of(search, row))


def end_of(search: Search, row: HistoryRow) -> Outcome | None:
    """How a trial ended; None while it has not."""
    values: list[float | None] = []
    errors: tuple[float | None, ...] = ()
    if row.state is TrialState.COMPLETED and row.costs is not None:
        names = search.objective_names
        values = objective_values(names, row.costs, row.metrics)
        errors = standard_errors(names, row.lr, row.replicates or ())
    return outcome_of(row.state, row.reason, values, errors)
