"""Several schedulers on one database: one leads, and who led before can write nothing. On both databases."""

import threading
from pathlib import Path

import pytest

from nas_service.artifacts import ArtifactStore
from nas_service.database import Database, DatabaseAway, DatabaseBusy
from nas_service.database.events import append_event, events_after
from nas_service.database.trials import newest_trials, trial_by_id
from nas_service.domain.states import TrialState
from nas_service.lifecycle.lease import lease
from nas_service.scheduler import Scheduler, loop
from nas_service.scheduler.leader import Leader, NotLeader
from nas_service.settings import Settings
from tests.builders import a_request, completed, enqueued, leased, submitted

EXPIRED = -1.0  # seconds that a lease lives


class Clock:
    """Moves when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "monotonic", clock)
    return clock


def a_scheduler(database: Database, home: Path, **settings: object) -> Scheduler:
    chosen = Settings(home=home, **settings)
    return Scheduler(database, ArtifactStore(chosen.url_of_artifacts), chosen)


def number_of_events(database: Database, search_id: int) -> int:
    with database.read() as connection:
        return len(events_after(connection, search_id, 0))


def let_the_lease_end(scheduler: Scheduler) -> None:
    """As if the scheduler had been frozen for longer than its lease."""
    leader = scheduler._leader
    leader._lease_seconds = EXPIRED
    leader.renew()


def test_one_leads_and_a_clean_end_hands_over_at_once(each_database: Database) -> None:
    first, second = Leader(each_database), Leader(each_database)
    assert first.take().epoch == 1
    assert second.take() is None
    assert second.now() == first.name
    first.give_up()
    assert second.take().epoch == 2
    assert second.take() is None
    assert (first.leads, second.leads) == (False, True)


def test_of_many_that_want_to_lead_at_once_one_does(each_database: Database) -> None:
    leaders, start = [Leader(each_database) for _ in range(6)], threading.Barrier(6)

    def try_it(leader: Leader) -> None:
        start.wait(30)
        leader.take()

    threads = [threading.Thread(target=try_it, args=(leader,)) for leader in leaders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sum(leader.leads for leader in leaders) == 1


def test_a_leader_whose_lease_ended_and_whom_nobody_replaced_leads_on(each_database: Database) -> None:
    leader = Leader(each_database, lease_seconds=EXPIRED)
    leader.take()
    with leader.write():
        pass
    leader.renew()
    assert leader.leads


def test_a_leader_that_was_replaced_writes_nothing(each_database: Database) -> None:
    search_id = submitted(each_database)
    late, heir = Leader(each_database, lease_seconds=EXPIRED), Leader(each_database)
    late.take()
    assert heir.take().epoch == 2
    with pytest.raises(NotLeader, match="another scheduler took over"), late.write() as connection:
        append_event(connection, search_id, "from the grave")
    with pytest.raises(NotLeader, match="does not lead"), late.write():
        pass
    late.give_up()  # this takes nothing from the heir
    assert heir.now() == heir.name
    assert number_of_events(each_database, search_id) == 1


def test_a_leader_that_cannot_renew_learns_so(each_database: Database) -> None:
    late, heir = Leader(each_database, lease_seconds=EXPIRED), Leader(each_database)
    late.take()
    heir.take()
    late.renew()
    assert not late.leads
    assert heir.leads


def test_nobody_takes_over_during_a_write_but_the_leader_may_renew(postgres_database: Database) -> None:
    leader, heir = Leader(postgres_database, lease_seconds=EXPIRED), Leader(postgres_database)
    leader.take()
    taking = threading.Thread(target=heir.take)
    with leader.write():
        leader.renew()
        taking.start()
        taking.join(0.3)
        assert not heir.leads
    taking.join(30)
    assert heir.leads


def test_every_write_of_a_scheduler_is_fenced(
    each_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search_id = submitted(each_database, budget={"trials_per_arm": 1})
    late, heir = a_scheduler(each_database, tmp_path), a_scheduler(each_database, tmp_path)
    assert late.lead()
    let_the_lease_end(late)
    assert heir.lead()
    written: list[str] = []
    real_write = Leader.write

    def write(leader: Leader):
        written.append("fenced")
        return real_write(leader)

    monkeypatch.setattr(Leader, "write", write)
    with pytest.raises(NotLeader):
        late.tick()
    before = number_of_events(each_database, search_id)
    for act in (late._sweep, lambda: late._tend(search_id)):
        with pytest.raises(NotLeader):
            act()
    assert written == ["fenced"] * 3
    assert number_of_events(each_database, search_id) == before
    assert not [name for name, value in vars(late).items() if isinstance(value, Database)]


def test_the_heir_asks_what_the_dead_leader_would_have_asked(each_database: Database, tmp_path: Path) -> None:
    search_id = submitted(each_database, sampler="frontier", random_fraction=0.0, budget={"trials_per_arm": 30})
    dead, heir = a_scheduler(each_database, tmp_path), a_scheduler(each_database, tmp_path)
    assert dead.lead()
    dead.tick()
    for d_h in range(4, 16):
        completed(each_database, tmp_path, search_id, psnr_db=20 + d_h / 10, d_h=d_h, depth=1 + d_h % 4)
    leased(each_database, tmp_path, slots=2)  # one is trained while the next one is asked
    with each_database.read() as connection:
        desk = dead._desks[search_id]
        desk.catch_up(connection)
        (expected, *_), *_ = desk.propose("hourglass")
    let_the_lease_end(dead)
    assert heir.lead()
    heir.tick()
    with each_database.read() as connection:
        trials = {trial.number: trial for trial in newest_trials(connection, search_id, 100)}
    asked = trials[expected.number]
    assert (asked.architecture, asked.lr) == (expected.architecture, expected.lr)


def test_who_leads_again_reads_everything_anew(each_database: Database, tmp_path: Path, clock: Clock) -> None:
    search_id = submitted(each_database, budget={"trials_per_arm": 30})
    first, second = a_scheduler(each_database, tmp_path), a_scheduler(each_database, tmp_path)
    assert first.lead()
    first.tick()
    before = first._desks[search_id]
    let_the_lease_end(first)
    assert second.lead()
    clock.now += 2  # time to write something
    with pytest.raises(NotLeader):
        first.tick()
    assert not first.lead()
    second.tick()
    second.retire()
    assert first.lead()
    first.tick()
    assert first._desks[search_id] is not before


def lost_trial(database: Database, home: Path) -> int:
    """A trial whose lease has expired."""
    trial_id = enqueued(database, submitted(database))
    with database.write() as connection:
        lease(connection, a_request(), Settings(home=home).model_copy(update={"lease_seconds": EXPIRED}))
    return trial_id


def state_of(database: Database, trial_id: int) -> TrialState:
    with database.read() as connection:
        return trial_by_id(connection, trial_id).state


def assert_workers_are_given_one_lease_time(database: Database, scheduler: Scheduler, clock: Clock, lost: int) -> None:
    scheduler.tick()
    clock.now += 59
    scheduler.tick()
    assert state_of(database, lost) is TrialState.LEASED
    clock.now += 2
    scheduler.tick()
    assert state_of(database, lost) is TrialState.QUEUED


def test_after_the_database_was_away_workers_have_one_lease_time_to_be_heard_of(
    database: Database, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = a_scheduler(database, tmp_path, lease_seconds=60)

    def is_away() -> None:
        raise DatabaseAway("away")

    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "tick", is_away)
        scheduler._round()
    assert_workers_are_given_one_lease_time(database, scheduler, clock, lost_trial(database, tmp_path))


def test_after_nobody_led_for_long_workers_have_one_lease_time_to_be_heard_of(
    database: Database, tmp_path: Path, clock: Clock
) -> None:
    Leader(database, lease_seconds=-1000).take()  # the one that led before, a thousand seconds ago
    scheduler = a_scheduler(database, tmp_path, lease_seconds=60)
    assert scheduler.lead()
    assert_workers_are_given_one_lease_time(database, scheduler, clock, lost_trial(database, tmp_path))


def test_a_lock_that_took_too_long_is_no_outage_and_lost_trials_are_taken_back_at_once(
    database: Database, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = a_scheduler(database, tmp_path, lease_seconds=60)
    assert scheduler.lead()

    def is_busy() -> None:
        raise DatabaseBusy("busy")

    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "tick", is_busy)
        scheduler._round()
    lost = lost_trial(database, tmp_path)
    scheduler.tick()
    assert state_of(database, lost) is TrialState.QUEUED
