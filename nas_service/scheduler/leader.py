"""Of several schedulers one leads: it alone may write, until another one took over (docs/decisions/0007).

The lead is a lease in the database that a thread renews, however long the main thread thinks. Every write begins by
looking at the epoch, so a leader that was frozen, or cut off, and comes back too late can write nothing any more.
"""

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import structlog

from nas_service.database import Connection, Database, DatabaseAway
from nas_service.database.leadership import Lead, give_up_lead, holds_lead, leader_now, renew_lead, take_lead

log = structlog.get_logger()

LEASE_SECONDS = 8.0  # a leader that is dead is replaced after so long
RENEW_SECONDS = 2.0


class NotLeader(Exception):
    """Another scheduler leads; what this one knows may be out of date."""


class Leader:
    """A scheduler's way to the database: it may always read, and write while it leads."""

    def __init__(self, database: Database, lease_seconds: float = LEASE_SECONDS) -> None:
        self._database = database
        self._lease_seconds = lease_seconds
        self._epoch: int | None = None
        self.name = f"{platform.node()}-{os.getpid()}"[:200]

    @property
    def leads(self) -> bool:
        """Whether this scheduler leads as far as it knows."""
        return self._epoch is not None

    def now(self) -> str | None:
        """The name of the scheduler that leads; None when nobody does."""
        with self._database.read() as connection:
            return leader_now(connection)

    def take(self) -> Lead | None:
        """Lead from now on; None while somebody else does."""
        if self.now() is not None:
            return None
        with self._database.write() as connection:
            lead = take_lead(connection, self.name, self._lease_seconds)
        if lead is not None:
            self._epoch = lead.epoch
        return lead

    def renew(self) -> None:
        """Lead on; a scheduler whose place was taken leads no more."""
        epoch = self._epoch
        if epoch is None:
            return
        with self._database.write() as connection:
            is_mine = renew_lead(connection, epoch, self._lease_seconds)
        if not is_mine:
            self._lose(epoch)

    def give_up(self) -> None:
        """Let another scheduler lead at once."""
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            with self._database.write() as connection:
                give_up_lead(connection, epoch)

    def read(self) -> AbstractContextManager[Connection]:
        """One transaction that changes nothing."""
        return self._database.read()

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, during which nobody else can begin to lead.

        Raises:
            NotLeader: when another scheduler leads, before anything is done.
        """
        epoch = self._epoch
        if epoch is None:
            raise NotLeader("this scheduler does not lead")
        with self._database.write() as connection:
            if not holds_lead(connection, epoch):
                self._lose(epoch)
                raise NotLeader("another scheduler took over, for this one was not heard of in time")
            yield connection

    @contextmanager
    def renewing(self) -> Iterator[None]:
        """Renew the lead from a thread while the block lasts, whenever there is one."""
        ended = threading.Event()
        thread = threading.Thread(target=self._keep_renewing, args=(ended,), name="leader", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _keep_renewing(self, ended: threading.Event) -> None:
        while not ended.wait(RENEW_SECONDS):
            try:
                self.renew()
            except DatabaseAway as error:
                log.debug("lead not renewed; trying again", why=str(error))
            except Exception:
                log.exception("lead not renewed; trying again")

    def _lose(self, epoch: int) -> None:
        if self._epoch == epoch:  # and not one that was taken meanwhile
            self._epoch = None
