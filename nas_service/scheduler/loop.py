"""The scheduler's loop: for every running search tell what happened, refill the queue, finish what is done.

It keeps about one queued trial per idle slot of a worker: a trial asked later knows more. Of several schedulers one
leads; the others wait. All that it knows is read anew when it begins to lead, and after the database was away.
"""

import threading
from contextlib import suppress
from time import monotonic

import structlog

from nas_service.artifacts import ArtifactStore
from nas_service.database import Connection, Database, DatabaseAway, DatabaseBusy
from nas_service.database.searches import arms_of, news_of_running_searches
from nas_service.database.trials import set_asks
from nas_service.database.workers import live_workers
from nas_service.domain.allocation import next_arm
from nas_service.domain.states import TrialState
from nas_service.lifecycle.control import fail, finish_if_done, require_search
from nas_service.lifecycle.lease import reap
from nas_service.lifecycle.networks import sweep_artifacts
from nas_service.lifecycle.propose import exhaust_arm, store_proposals
from nas_service.scheduler.desk import Desk
from nas_service.scheduler.leader import Leader, NotLeader
from nas_service.settings import Settings

log = structlog.get_logger()

REAP_SECONDS = 1.0
SWEEP_SECONDS = 10.0
FOLLOW_SECONDS = 0.5  # between looks of a scheduler that waits for the leader's end
PAUSE_SECONDS = 1.0  # after an error
MAX_ERRORS = 5  # of one search, without a proposal in between; then it fails
ERRORS_COUNT_SECONDS = 600.0  # earlier ones are forgotten


class Scheduler:
    """Serves every running search, one after the other."""

    def __init__(self, database: Database, store: ArtifactStore, settings: Settings) -> None:
        self._leader = Leader(database)  # the only way to the database: what it writes is fenced
        self._store = store
        self._settings = settings
        self._desks: dict[int, Desk] = {}
        self._errors: dict[int, list[float]] = {}  # when a search could not be served
        self._reap_at = self._sweep_at = 0.0
        self._is_waiting = self._is_away = False  # said once in the log: another one leads; the database is away

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop."""
        log.info("scheduler started", name=self._leader.name)
        with self._leader.renewing():
            while not stop.wait(self._settings.poll_seconds):
                stop.wait(self._round())
        with suppress(DatabaseAway):  # then the lead ends by itself
            self._leader.give_up()
        log.info("scheduler stopped", name=self._leader.name)

    def lead(self) -> bool:
        """Lead, where nobody else does; whether this scheduler leads now."""
        if self._leader.leads:
            return True
        lead = self._leader.take()
        if lead is not None:
            log.info("this scheduler leads", name=self._leader.name, epoch=lead.epoch)
            self._is_waiting = False
            self._desks.clear()
            if lead.vacant_seconds > self._settings.heartbeat_seconds:  # the servers may have been away as well
                self._let_workers_be_heard()
        elif not self._is_waiting:
            log.info("another scheduler leads; waiting for its end", name=self._leader.name, leader=self._leader.now())
            self._is_waiting = True
        return lead is not None

    def retire(self) -> None:
        """Let another scheduler lead at once."""
        self._leader.give_up()

    def tick(self) -> None:
        """One round over everything that needs care; raises NotLeader when another scheduler leads."""
        if monotonic() >= self._reap_at:
            self._reap_at = monotonic() + REAP_SECONDS
            with self._leader.write() as connection:
                reap(connection, self._settings.max_attempts)
        if monotonic() >= self._sweep_at:
            self._sweep_at = monotonic() + SWEEP_SECONDS
            self._sweep()
        with self._leader.read() as connection:
            news = news_of_running_searches(connection)
        self._desks = {search_id: desk for search_id, desk in self._desks.items() if search_id in news}
        for search_id in news:
            self._tend_safely(search_id)

    def _round(self) -> float:
        """Lead and work, or wait; returns the seconds until it makes sense to look again, beyond the usual ones."""
        try:
            if not self.lead():
                return FOLLOW_SECONDS
            self.tick()
        except NotLeader as error:
            log.warning("this scheduler leads no more", name=self._leader.name, why=str(error))
        except DatabaseAway as error:
            self._note_outage(error)
            return PAUSE_SECONDS
        except Exception:
            log.exception("scheduler could not work; trying again")
            self._desks.clear()
            return PAUSE_SECONDS
        if self._is_away:
            log.info("the database is back")
            self._is_away = False
        return 0.0

    def _note_outage(self, error: DatabaseAway) -> None:
        if not self._is_away:
            log.warning("scheduler waits for the database", why=str(error), cause=str(error.__cause__)[:300])
        self._is_away = True
        self._desks.clear()  # whether the last transaction was stored is not known
        if not isinstance(error, DatabaseBusy):
            self._let_workers_be_heard()

    def _let_workers_be_heard(self) -> None:
        """Take no lease back for one lease time: while the service was away no worker could renew its own."""
        self._reap_at = monotonic() + self._settings.lease_seconds

    def _sweep(self) -> None:
        try:
            with self._leader.write() as connection:
                sweep_artifacts(connection, self._store)
        except OSError:  # the store may be away for a while; the searches go on
            log.exception("cannot remove files that nothing needs; trying again")

    def _tend_safely(self, search_id: int) -> None:
        try:
            self._tend(search_id)
        except (DatabaseAway, NotLeader):
            raise  # no fault of this search
        except Exception as error:
            log.exception("cannot serve a search", search=search_id)
            self._desks.pop(search_id, None)
            recent = [at for at in self._errors.get(search_id, []) if at > monotonic() - ERRORS_COUNT_SECONDS]
            self._errors[search_id] = [*recent, monotonic()]
            if len(self._errors[search_id]) >= MAX_ERRORS:
                with self._leader.write() as connection:
                    fail(connection, search_id, f"the scheduler cannot go on with it: {error}")

    def _tend(self, search_id: int) -> None:
        """Tell, refill, finish."""
        while True:
            desk = self._caught_up_desk(search_id)
            with self._leader.read() as connection:
                search = require_search(connection, search_id)
                arms = arms_of(connection, search_id)
                arm = next_arm(search, arms, desk.growth) if self._is_short(connection, search_id) else None
            if arm is None:
                break
            self._refill(desk, arm)
        with self._leader.read() as connection:
            may_be_done = not any(arm.open_trials for arm in arms_of(connection, search_id))
        if may_be_done:
            with self._leader.write() as connection:
                finish_if_done(connection, search_id)

    def _caught_up_desk(self, search_id: int) -> Desk:
        with self._leader.read() as connection:
            desk = self._desks.get(search_id)
            if desk is None:
                desk = self._desks[search_id] = Desk.load(connection, search_id)
            desk.catch_up(connection)
        if desk.unwritten:
            with self._leader.write() as connection:
                set_asks(connection, search_id, desk.unwritten)
            desk.unwritten.clear()
        return desk

    def _is_short(self, connection: Connection, search_id: int) -> bool:
        """Whether fewer trials are queued than slots of workers wait; one is kept while no worker is alive."""
        queued = sum(arm.trials[TrialState.QUEUED] for arm in arms_of(connection, search_id))
        live = live_workers(connection)
        idle = sum(max(0, worker.slots - worker.trials) for worker in live) if live else 1
        return queued < idle

    def _refill(self, desk: Desk, arm: str) -> None:
        proposals, accepted, asked_after = desk.propose(arm)
        with self._leader.write() as connection:
            stored = not proposals or store_proposals(connection, desk.search_id, arm, proposals, asked_after)
            if stored and not accepted:
                exhaust_arm(connection, desk.search_id, arm, "every legal shape within the limits was proposed")
        self._errors.pop(desk.search_id, None)
        if not stored:
            self._desks.pop(desk.search_id, None)
