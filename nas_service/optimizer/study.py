"""The Optuna study of one arm: asked, told, and rebuilt from rows so that it would answer the same.

Each answer is a function of the history and the search's seed. What is drawn depends on the trials in number order, on
what was told about them and on their attributes; so a study rebuilt from any beginning of the history, with the trials
that were running then shown as running, asks what was asked then. No database, no clock, no threads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from typing import Any

import optuna
from optuna.samplers import BaseGASampler, BaseSampler, RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial

from nas_service.domain.architecture import Architecture
from nas_service.domain.costs import Costs
from nas_service.domain.search import SamplerName, Search
from nas_service.domain.trial import Ask, DrawnOrigin, LearningRates, Origin, Proposal, duplicate_key
from nas_service.optimizer.fallback import draw_legal
from nas_service.optimizer.frontier import STANDARD_ERRORS, Fits
from nas_service.optimizer.legality import Verdict, judge
from nas_service.optimizer.records import End, Outcome, Proposals, Record, finite
from nas_service.optimizer.samplers import frontier_sampler, is_random, optunas_sampler, seed_of
from nas_service.optimizer.space import Candidate, Params, Space, three_digits
from nas_service.optimizer.stand_ins import StandIns, error_on_axis, on_axis

MAX_REFUSED_IN_A_ROW = 50  # then a legal shape is drawn from the known costs
SIZES_REMEMBERED = 50_000  # whose verdict is kept, to save time
DUPLICATE_VIOLATION = 0.1  # small: the shape is good, only known; a cost e**0.1 times the limit is as far off
CONSTRAINT = "refused"  # every trial carries it: above 0 when refused, else how far inside (samplers need it on all)
CONSTRAINT_KEY = f"constraints:{CONSTRAINT}"  # where Optuna keeps it among a trial's attributes
GIVEN = "given"  # attribute of a trial that no sampler drew: its d_z, d_h, depth, lr

STATES = {
    End.COMPLETED: TrialState.COMPLETE,
    End.PRUNED: TrialState.PRUNED,
    End.REFUSED: TrialState.COMPLETE,  # with its constraint violated; samplers would forget a failed one
    End.FAILED: TrialState.FAIL,
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class _Entry:
    """What is remembered of a trial beside Optuna's record of it."""

    key: str | None  # duplicate key; None without an architecture
    costs: Costs | None
    violation: float  # its constraint, above 0 when it was to be refused
    in_box: bool  # whether its parameters say its true sizes


class ArmStudy:
    """Proposes the next architecture of an arm."""

    def __init__(self, search: Search, arm_name: str, trivial: Mapping[str, float] | None = None) -> None:
        """Begin without history; `trivial`: metrics of the task's trivial answer, as soon as they are known."""
        self.search = search
        self.trivial = trivial
        self.arm_name = arm_name
        self.arm = search.arms[arm_name]
        self._space = Space(self.arm)
        self._storage = InMemoryStorage()
        self._study = optuna.create_study(
            storage=self._storage,
            study_name=arm_name,
            directions=[objective.direction for objective in search.objectives],
            sampler=RandomSampler(seed=0),  # replaced at each ask
        )
        # a storage of its own, so Optuna's trial ids are our numbers
        self._id = self._storage.get_study_id_from_name(arm_name)
        self._stand_ins = StandIns(search, arm_name)
        self._entries: list[_Entry] = []  # by number
        self._refused: set[int] = set()  # numbers told as refused
        self._refused_keys: set[str | None] = set()  # and their duplicate keys
        self._is_stale = False  # whether refused trials stand at other values by now
        self._taken: dict[Candidate, int] = {}  # lr to 3 digits -> number of the trial that proposed it
        self._fits = Fits()
        self._judge_sizes = lru_cache(SIZES_REMEMBERED)(partial(judge, search, self.arm))

    @classmethod
    def rebuild(
        cls, search: Search, arm_name: str, records: Sequence[Record], trivial: Mapping[str, float] | None = None
    ) -> "ArmStudy":
        """The study that has seen these records.

        Args:
            search: as it was submitted.
            arm_name: which of its arms.
            records: in number order from 0 without gaps; refused and running ones included.
            trivial: metrics of the task's trivial answer, None before the first result.

        Raises:
            ValueError: when a number is missing or a completed trial lacks a finite value.
        """
        study = cls(search, arm_name, trivial)
        for record in records:
            study.restore(record)
        return study

    @property
    def next_number(self) -> int:
        """The number that the next proposal gets."""
        return len(self._entries)

    @property
    def refused_in_a_row(self) -> int:
        """How many of the latest proposals were refused one after the other."""
        number = self.next_number
        while number - 1 in self._refused:
            number -= 1
        return self.next_number - number

    def propose(self, origin: DrawnOrigin | None = None) -> Proposals:
        """Ask until a proposal is legal and new; the refused ones are told on the way.

        Args:
            origin: `sampler` or `random` for the asks; None lets `random_fraction` decide for each number.
        """
        refused: list[Proposal] = []
        while self.refused_in_a_row < MAX_REFUSED_IN_A_ROW:
            proposal = self.ask(origin)
            if proposal.violation == 0:
                return Proposals(tuple(refused), proposal)
            self.tell(proposal.number, Outcome(End.REFUSED))
            refused.append(proposal)
            if proposal.origin == "sampler" and self.search.sampler == "frontier":
                break  # it knows the rules: one refusal says that it found nothing
        return Proposals(tuple(refused), self.random_legal())

    def ask(self, origin: DrawnOrigin | None = None) -> Proposal:
        """Propose the next trial, legal or not; the caller tells `refused` about one with a violation."""
        number = self.next_number
        if origin is None:
            origin = "random" if is_random(self.search, self.arm_name, number) else "sampler"
        self._refresh_refused()
        self._study.sampler = self._sampler("random" if origin == "random" else self.search.sampler, "ask")
        caches = self._caches()
        trial = self._study.ask(self._space.distributions)
        candidate = self._space.decode(trial.params)
        verdict = self._judge(candidate)
        trial.set_constraint(CONSTRAINT, verdict.distance)
        return self._register(candidate, verdict, origin, caches)

    def enqueue(self, architecture: Architecture, lr: LearningRates) -> Proposal:
        """Propose this architecture as the next trial; the caller tells `refused` about one with a violation.

        Samplers see the nearest point of the arm's box. A trial whose sizes lie outside of the box teaches them
        nothing: its end is told as failed. A learning rate outside of its range does not matter so much.

        Raises:
            ValueError: when the architecture is not of this arm's family and projections, or `lr` is a number where
                the arm trains a list, or the other way round.
        """
        if architecture != self.arm.architecture(architecture.d_z, architecture.d_h, architecture.depth):
            raise ValueError(f"the architecture is not of arm {self.arm_name} (got {architecture!r})")
        if isinstance(lr, tuple) != (self.arm.lr_values is not None):
            raise ValueError(f"arm {self.arm_name} has lr {self.arm.lr}, a list or not as there (got {lr})")
        return self._add(Candidate(architecture.d_z, architecture.d_h, architecture.depth, lr), "enqueued")

    def random_legal(self) -> Proposal | None:
        """Propose a random legal shape that is no duplicate; None when none is left."""
        candidate = draw_legal(
            self.search,
            self._space,
            self._seed("fallback"),
            taken=len(self._taken),
            is_free=lambda candidate: self._judge(candidate).message is None,
        )
        return None if candidate is None else self._add(candidate, "fallback")

    def tell(self, number: int, outcome: Outcome) -> None:
        """Say how a trial ended.

        Raises:
            ValueError: when there is no such running trial, or a completed one lacks a finite value for an objective.
        """
        if not 0 <= number < self.next_number:
            raise ValueError(f"{self.arm_name} has no trial number {number} to tell")
        values = self._told_values(number, outcome)
        state = self._told_state(number, outcome)
        for name, value in self._attributes(outcome).items():
            self._storage.set_trial_user_attr(number, name, value)
        self._study.tell(number, values if state is TrialState.COMPLETE else None, state)
        self._remember(number, outcome, values)

    def _add(self, candidate: Candidate, origin: Origin) -> Proposal:
        """Make a trial of a candidate that no sampler drew."""
        verdict = self._judge(candidate)
        caches = self._caches()
        self._study.add_trial(
            create_trial(
                state=TrialState.RUNNING,
                params=self._space.encode(candidate),
                distributions=self._space.distributions,
                system_attrs={GIVEN: candidate._asdict()},
                constraints={CONSTRAINT: verdict.distance},
            )
        )
        return self._register(candidate, verdict, origin, caches)

    def _register(self, candidate: Candidate, verdict: Verdict, origin: Origin, caches: dict[str, Any]) -> Proposal:
        """Remember the trial just made and put it into a proposal; `caches`: the study's attributes before the ask."""
        number = self.next_number
        if origin != "sampler":
            self._join_generation(number)
        trial = self._storage.get_trial(number)
        added = {name: value for name, value in self._caches().items() if name not in caches}
        self._enter(candidate, verdict, trial.params)
        return Proposal(
            number=number,
            ask=Ask(params=dict(trial.params), system_attrs=dict(trial.system_attrs), study_attrs=added),
            origin=origin,
            architecture=verdict.architecture,
            lr=candidate.lr,
            costs=verdict.costs,
            violation=max(0.0, verdict.distance),
            message=verdict.message,
        )

    def restore(self, record: Record) -> None:
        """Write the next row of the history back into the study.

        Raises:
            ValueError: when it is not the next one, or a completed trial lacks a finite value.
        """
        if record.number != self.next_number:
            expected = f"the history of {self.arm_name} has no trial number {self.next_number}"
            raise ValueError(f"{expected} (got {record.number} there)")
        ask, outcome = record.ask, record.outcome
        candidate = self._space.decode(ask.params)
        if GIVEN in ask.system_attrs:
            candidate = Candidate.from_json(ask.system_attrs[GIVEN])
        for name, value in ask.study_attrs.items():
            self._storage.set_study_system_attr(self._id, name, value)
        verdict = replace(self._judge_sizes(candidate[:3]), distance=ask.system_attrs[CONSTRAINT_KEY])
        self._enter(candidate, verdict, ask.params)
        values = None if outcome is None else self._told_values(record.number, outcome)
        state = TrialState.RUNNING if outcome is None else self._told_state(record.number, outcome)
        self._study.add_trial(
            create_trial(
                state=state,
                params=dict(ask.params),
                distributions=self._space.distributions,
                system_attrs=dict(ask.system_attrs),
                user_attrs=None if outcome is None else self._attributes(outcome),
                values=values if state is TrialState.COMPLETE else None,
            )
        )
        if outcome is not None:
            self._remember(record.number, outcome, values)

    def _enter(self, candidate: Candidate, verdict: Verdict, params: Params) -> None:
        key = None if verdict.architecture is None else duplicate_key(verdict.architecture, candidate.lr)
        in_box = self._space.decode(params)[:3] == candidate[:3]
        if key is not None and verdict.distance <= 0:
            self._taken[_rounded(candidate)] = self.next_number
        self._entries.append(_Entry(key, verdict.costs, verdict.distance, in_box))

    def _judge(self, candidate: Candidate) -> Verdict:
        """The rules' verdict, and whether the arm has proposed it before."""
        verdict = self._judge_sizes(candidate[:3])
        if verdict.message is not None or verdict.architecture is None:
            return verdict
        number = self._taken.get(_rounded(candidate))
        if number is None:
            return verdict
        message = f"already proposed as trial number {number}"
        return replace(verdict, distance=DUPLICATE_VIOLATION, message=message)

    def _join_generation(self, number: int) -> None:
        """Let a trial that no genetic sampler drew be a parent: they breed only from trials that have a generation."""
        sampler = self._sampler(self.search.sampler, "generation")
        if isinstance(sampler, BaseGASampler):
            generation = sampler.get_trial_generation(self._study, self._storage.get_trial(number))
            # Optuna would find the parents when it next needs them, generation within generation: thousands of trials
            # without a cache end in a RecursionError.
            sampler.get_parent_population(self._study, generation)

    def _sampler(self, name: SamplerName, purpose: str) -> BaseSampler:
        """A fresh one: only history is remembered."""
        seed = self._seed(purpose)
        if name != "frontier":
            return optunas_sampler(name, seed)
        return frontier_sampler(
            self.search.objectives,
            self.search.reference_point(self.trivial),
            self._space,
            lambda params: self._judge_sizes(self._space.decode(params)[:3]).costs,
            {CONSTRAINT: lambda params: self._judge(self._space.decode(params)).distance},
            seed,
            self._fits,
        )

    def _attributes(self, outcome: Outcome) -> dict[str, Any]:
        """What a trial carries beside its values: their standard errors as told, where any is known."""
        if not any(outcome.standard_errors):
            return {}
        rows = zip(self.search.objectives, outcome.values, outcome.standard_errors, strict=True)
        errors = [None if error is None else error_on_axis(objective, value, error) for objective, value, error in rows]
        return {STANDARD_ERRORS: errors}

    def _told_state(self, number: int, outcome: Outcome) -> TrialState:
        return STATES[outcome.end] if self._entries[number].in_box else TrialState.FAIL

    def _told_values(self, number: int, outcome: Outcome) -> list[float] | None:
        entry = self._entries[number]
        if outcome.end is End.REFUSED:
            if entry.violation <= 0:
                raise ValueError(f"trial {number} of {self.arm_name} is legal and new; it cannot be refused")
            return self._stand_ins.values(entry.key, entry.costs)
        if outcome.end is not End.COMPLETED:
            return None
        objectives, values = self.search.objectives, finite(outcome.values)
        if len(values) != len(objectives):
            raise ValueError(f"a completed trial needs {len(objectives)} values (got {list(values)})")
        return [on_axis(objective, value) for objective, value in zip(objectives, values, strict=True)]

    def _remember(self, number: int, outcome: Outcome, values: list[float] | None) -> None:
        key = self._entries[number].key
        if outcome.end is End.REFUSED:
            self._refused.add(number)
            self._refused_keys.add(key)
        elif outcome.end is End.COMPLETED and key is not None and values is not None:
            is_worse = self._stand_ins.add_completed(key, values)
            self._is_stale |= is_worse or key in self._refused_keys

    def _refresh_refused(self) -> None:
        """Give refused trials the values that stand for them now (the storage hands out its own objects)."""
        for number in self._refused if self._is_stale else ():
            entry = self._entries[number]
            if entry.in_box:
                self._storage.get_trial(number).values = self._stand_ins.values(entry.key, entry.costs)
        self._is_stale = False

    def _caches(self) -> dict[str, Any]:
        return self._storage.get_study_system_attrs(self._id)

    def _seed(self, purpose: str) -> int:
        return seed_of(self.search, self.arm_name, self.next_number, purpose)


def _rounded(candidate: Candidate) -> Candidate:
    """The same for all candidates that would train the same thing: learning rates to 3 digits."""
    lr = candidate.lr
    return candidate._replace(lr=tuple(map(three_digits, lr)) if isinstance(lr, tuple) else three_digits(lr))
