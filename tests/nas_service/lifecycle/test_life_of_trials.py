"""The life of trials against a reference: whatever is called in whatever order, the rows stand as a plain dict says.

Every verb runs in a transaction of its own, as at the edge. Leaves out what happens at once (test_leases) and what a
network does to calls (tests/chaos).
"""

from collections import Counter
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import update

from nas_service.database import Database
from nas_service.database.events import events_after
from nas_service.database.searches import arms_of, search_by_id
from nas_service.database.tables import trials as trials_table
from nas_service.database.trials import newest_trials
from nas_service.domain.front import non_dominated
from nas_service.domain.states import TrialState
from nas_service.domain.trial import trial_points
from nas_service.lifecycle import control
from nas_service.lifecycle.errors import Conflict, LeaseLost, LifecycleError
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.lease import dismiss, lease, reap, release, report
from nas_service.messages import Enqueue, Lease, Release, Report, Result
from nas_service.settings import Settings
from tests.builders import a_request, a_result, a_search, submitted

MAX_ATTEMPTS, MAX_FAILURES = 2, 1
WORKERS = st.sampled_from(["w1", "w2", "w3"])
QUALITIES = st.sampled_from([10.0, 20.0, 30.0])
RESULTS = st.one_of(
    QUALITIES.map(a_result),
    st.just(a_result(outcome="failed", reason="diverged", metrics=None)),
    st.just(a_result(outcome="failed", reason="error", metrics=None)),
)
NUMBERS = count(1)  # no request or worker id comes twice in a database
ENDED = ("completed", "failed", "cancelled")


@dataclass
class Known:
    """A trial in the reference."""

    sizes: tuple[int, int]
    state: str = "queued"
    reason: str | None = None
    attempt: int = 0
    token: int = 0
    lease_id: str | None = None
    request_id: str | None = None
    worker: str | None = None
    has_expired: bool = False
    result: Result | None = None

    def requeue(self, attempt: int) -> None:
        self.state, self.attempt, self.has_expired = "queued", attempt, False
        self.lease_id = self.request_id = self.worker = None

    def end(self, state: str, reason: str | None = None) -> None:
        self.state, self.reason, self.request_id, self.has_expired = state, reason, None, False


def now_and_then(life: "LifeOfTrials") -> bool:
    """Keeps what ends or stops much from happening most of the time."""
    return life.calls % 4 == 0


class LifeOfTrials(RuleBasedStateMachine):
    """One search; `self.trials` is what it should be."""

    leases = Bundle("leases")

    def __init__(self, database: Database, home: Path) -> None:
        super().__init__()
        self.database = database
        self.settings = Settings(home=home, max_attempts=MAX_ATTEMPTS)
        self.life = next(NUMBERS)
        self.state, self.budget = "running", 2.0
        self.trials: dict[int, Known] = {}
        self.calls = 0

    # ---- what people do

    @initialize()
    def submit(self) -> None:
        self.search_id = submitted(self.database, budget={"trials_per_arm": 2}, max_failures=MAX_FAILURES)
        for d_z in (65, 66, 67):
            self.enqueue(d_z, 4)

    @rule(d_z=st.integers(65, 68), d_h=st.integers(4, 5))
    def enqueue(self, d_z: int, d_h: int) -> None:
        request = Enqueue(arm="hourglass", d_z=d_z, d_h=d_h, depth=1, lr=1e-3)
        is_new = (d_z, d_h) not in [known.sizes for known in self.trials.values()]
        answer = self.call(control.enqueue, self.search_id, request)
        if is_new and self.state in ("running", "paused"):
            self.trials[answer] = Known((d_z, d_h))
        else:
            assert answer is Conflict

    @precondition(now_and_then)
    @rule()
    def pause(self) -> None:
        self.step(control.pause, "paused", allowed=("running", "paused"))

    @precondition(lambda self: self.state == "paused" or now_and_then(self))
    @rule()
    def resume(self) -> None:
        self.step(control.resume, "running", allowed=("running", "paused"))

    @precondition(lambda self: self.calls > 40 and now_and_then(self))
    @rule()
    def cancel(self) -> None:
        self.step(control.cancel, "cancelled", allowed=("running", "paused", "cancelled"))
        self.cancel_open_trials()

    @precondition(now_and_then)
    @rule(by=st.sampled_from([-1.0, 1.0]))
    def extend(self, by: float) -> None:
        answer = self.call(control.extend, self.search_id, self.budget + by)
        if by < 0 or self.state in ("cancelled", "failed"):
            assert answer is Conflict
        else:
            self.budget += by
            self.state = "running" if self.state == "finished" else self.state

    # ---- what workers do

    @rule(target=leases, worker=WORKERS)
    def lease(self, worker: str) -> Any:
        return self.leased(worker, f"request-{next(NUMBERS)}")

    @rule(target=leases, held=leases)
    def repeat_the_request(self, held: tuple[str, Lease]) -> Any:
        holders = [known.worker for known in self.trials.values() if known.request_id == held[0]]
        worker = (holders or [self.trials[held[1].trial_id].worker])[0] or "w1"
        return self.leased(worker.rsplit("-", 1)[0], held[0])

    @rule(held=leases)
    def report(self, held: tuple[str, Lease]) -> None:
        known, answer = self.trials[held[1].trial_id], self.call_with(held[1], report, Report(step=1), self.settings)
        if known.lease_id != held[1].lease_id or known.state in ("completed", "failed"):
            assert answer is LeaseLost
        else:
            reason = "cancelled" if known.state == "cancelled" else "paused" if self.state == "paused" else None
            assert answer.reason == reason
            known.has_expired = False

    @rule(held=leases, result=RESULTS)
    def finish(self, held: tuple[str, Lease], result: Result) -> None:
        known, answer = self.trials[held[1].trial_id], self.call_with(held[1], finish, result)
        ended_otherwise = known.state in ENDED and known.result is None  # cancelled, or poison
        if known.lease_id != held[1].lease_id or ended_otherwise:
            assert answer is LeaseLost
        elif known.result is not None:
            assert (answer is Conflict) == (result != known.result)
        else:
            known.result = result
            known.end(result.outcome, result.reason)
            self.fail_after_too_many()

    @rule(held=leases)
    def release(self, held: tuple[str, Lease]) -> None:
        known, answer = self.trials[held[1].trial_id], self.call_with(held[1], release, Release(reason="shutdown"))
        if known.lease_id != held[1].lease_id:
            assert answer is LeaseLost
        elif known.state == "leased":
            known.requeue(known.attempt)

    @precondition(now_and_then)
    @rule(worker=WORKERS)
    def dismiss(self, worker: str) -> None:
        self.call(dismiss, self.named(worker))
        for known in self.trials.values():
            if known.state == "leased" and known.worker == self.named(worker):
                known.requeue(known.attempt)

    # ---- what time and the scheduler do

    @rule(held=leases)
    def expire(self, held: tuple[str, Lease]) -> None:
        known = self.trials[held[1].trial_id]
        if known.state != "leased":
            return
        this = update(trials_table).where(trials_table.c.id == held[1].trial_id)
        with self.database.write() as connection:
            connection.execute(this.values(lease_expires_at=1.0))
        known.has_expired = True

    @precondition(lambda self: any(known.has_expired for known in self.trials.values()) or now_and_then(self))
    @rule()
    def reap(self) -> None:
        lost = [known for known in self.trials.values() if known.has_expired]
        failed_before = self.state
        taken = self.call(reap, MAX_ATTEMPTS)
        for known in lost:
            if known.state != "leased":  # one before it failed and the whole search with it
                taken += 1
            elif known.attempt + 1 >= MAX_ATTEMPTS:
                known.end("failed", "poison")
                self.fail_after_too_many()
            else:
                known.requeue(known.attempt + 1)
        assert taken == len(lost), failed_before

    @precondition(now_and_then)
    @rule()
    def tend(self) -> None:
        is_open = any(known.state not in ENDED for known in self.trials.values())
        is_done = self.state == "running" and not is_open and self.spent() >= self.budget
        assert self.call(control.finish_if_done, self.search_id) == is_done
        self.state = "finished" if is_done else self.state

    # ---- what holds at any time

    @invariant()
    def rows_are_as_the_reference_says(self) -> None:
        with self.database.read() as connection:
            search = search_by_id(connection, self.search_id)
            rows = {trial.id: trial for trial in newest_trials(connection, self.search_id, 1000)}
            (arm,) = arms_of(connection, self.search_id)
        assert (search.state, search.budget) == (self.state, self.budget)
        assert {i: (row.state, row.reason, row.attempt, row.worker_id) for i, row in rows.items()} == {
            i: (known.state, known.reason, known.attempt, known.worker) for i, known in self.trials.items()
        }
        counted = Counter(known.state for known in self.trials.values())
        assert arm.trials == {state: counted[state] for state in TrialState}
        assert arm.spending == self.spent() + counted["queued"] + counted["leased"]
        done = [row for row in rows.values() if row.state == "completed"]
        front = non_dominated(trial_points(done, a_search().objectives))
        assert [row.on_front for row in done] == front.tolist()

    @invariant()
    def events_have_no_gaps_and_every_trial_at_most_one_end(self) -> None:
        with self.database.read() as connection:
            events = events_after(connection, self.search_id, 0)
        assert [event.number for event in events] == list(range(1, len(events) + 1))
        ends = Counter(event.trial_id for event in events if event.kind in [f"trial_{state}" for state in ENDED])
        assert ends == {i: 1 for i, known in self.trials.items() if known.state in ENDED}

    def teardown(self) -> None:
        if hasattr(self, "search_id"):
            self.call(control.cancel, self.search_id)  # so that nothing of it is leased in the next life

    # ---- helpers

    def named(self, worker: str) -> str:
        return f"{worker}-{self.life}"

    def call(self, verb: Any, *args: Any) -> Any:
        """What the verb returns, or the kind of its refusal."""
        self.calls += 1
        try:
            with self.database.write() as connection:
                return verb(connection, *args)
        except LifecycleError as error:
            return type(error)

    def call_with(self, held: Lease, verb: Any, *args: Any) -> Any:
        return self.call(verb, held.lease_id, held.token, *args)

    def step(self, verb: Any, state: str, allowed: tuple[str, ...]) -> None:
        answer = self.call(verb, self.search_id)
        if self.state in allowed:
            self.state = state
        else:
            assert answer is Conflict

    def leased(self, worker: str, request_id: str) -> Any:
        """The new lease for the bundle, if there is one."""
        granted = self.call(lease, a_request(request_id, id=self.named(worker)), self.settings)
        held = [i for i, known in self.trials.items() if known.request_id == request_id]
        queued = sorted(i for i, known in self.trials.items() if known.state == "queued")
        expected = held or (queued if self.state == "running" else [])
        if not expected:
            assert granted is None
            return multiple()
        assert granted.trial_id == expected[0]
        known = self.trials[expected[0]]
        if held:
            assert (granted.lease_id, granted.token) == (known.lease_id, known.token)
        else:
            known.state, known.worker, known.request_id = "leased", self.named(worker), request_id
            known.lease_id, known.token = granted.lease_id, known.token + 1
            assert granted.token == known.token
        return request_id, granted

    def spent(self) -> int:
        return sum(known.state == "completed" or known.reason == "diverged" for known in self.trials.values())

    def fail_after_too_many(self) -> None:
        failures = sum(known.state == "failed" and known.reason != "diverged" for known in self.trials.values())
        if failures > MAX_FAILURES and self.state == "running":
            self.state = "failed"
            self.cancel_open_trials()

    def cancel_open_trials(self) -> None:
        if self.state in ("cancelled", "failed"):
            for known in self.trials.values():
                if known.state not in ENDED:
                    known.end("cancelled")


@pytest.mark.parametrize(
    ("lives", "steps"),
    [pytest.param(15, 30), pytest.param(150, 60, marks=[pytest.mark.slow, pytest.mark.timeout(600)])],
)
def test_any_order_of_calls_leaves_what_the_reference_says(
    each_database: Database, tmp_path: Path, lives: int, steps: int
) -> None:
    profile = settings(
        max_examples=lives,
        stateful_step_count=steps,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lambda: LifeOfTrials(each_database, tmp_path), settings=profile)
