"""Wakes the calls that wait: workers for a trial, event streams for news.

One task looks at the database for all of them, and only while somebody waits. A waiting call holds neither a thread nor
a connection. As many workers are woken as there are trials, the longest waiting first.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from nas_service.database import Database, DatabaseAway
from nas_service.database.events import last_event_of
from nas_service.database.leases import Need, queued_trials_per_need
from nas_service.domain.devices import names_of

log = structlog.get_logger()

PAUSE_SECONDS = 1.0  # after an error


@dataclass(eq=False)
class _Waiter:
    """One call that waits."""

    # a worker's: what it can train, {key: digest or None}
    datasets: Mapping[str, str | None] = field(default_factory=dict)
    device: str = ""  # a worker's
    search_id: int | None = None  # a stream's: whose events
    after: int = 0  # a stream's: the newest event that it has
    rung: asyncio.Event = field(default_factory=asyncio.Event)

    def can_train(self, need: Need) -> bool:
        """Whether its worker would be given a trial that needs this."""
        if need.dataset not in self.datasets or need.device not in (None, *names_of(self.device)):
            return False
        return need.digest is None or self.datasets[need.dataset] in (None, need.digest)


class Bell:
    """Calls wait here; `run` rings for them."""

    def __init__(self, database: Database, poll_seconds: float) -> None:
        self._database = database
        self._poll_seconds = poll_seconds
        self._waiters: dict[_Waiter, None] = {}  # ordered: first come, first woken
        self._somebody = asyncio.Event()
        self.closed = False  # the server ends: nobody should wait any more

    @property
    def waiting(self) -> int:
        """How many calls wait now."""
        return len(self._waiters)

    async def wait_for_trial(self, datasets: Mapping[str, str | None], device: str, seconds: float) -> bool:
        """Wait until a trial for these datasets ({key: digest}) and this device is queued; False when time is over."""
        return await self._wait(_Waiter(datasets=datasets, device=device), seconds)

    async def wait_for_event(self, search_id: int, after: int, seconds: float) -> bool:
        """Wait until the search has an event with a higher number, or is gone; False when the time is over."""
        return await self._wait(_Waiter(search_id=search_id, after=after), seconds)

    def close(self) -> None:
        """Send everybody who waits home."""
        self.closed = True
        for waiter in self._waiters:
            waiter.rung.set()

    async def run(self) -> None:
        """Look for news as long as the server lives."""
        while True:
            await self._somebody.wait()
            await asyncio.sleep(self._poll_seconds)
            try:
                await self._ring()
            except DatabaseAway:  # those who wait go on waiting; their own calls say it in the log
                await asyncio.sleep(PAUSE_SECONDS)
            except Exception:
                log.exception("cannot look for news; trying again")
                await asyncio.sleep(PAUSE_SECONDS)

    async def _wait(self, waiter: _Waiter, seconds: float) -> bool:
        if self.closed:
            return False
        self._waiters[waiter] = None
        self._somebody.set()
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(waiter.rung.wait(), seconds)
            return waiter.rung.is_set() and not self.closed
        finally:
            self._waiters.pop(waiter, None)
            if not self._waiters:
                self._somebody.clear()

    async def _ring(self) -> None:
        waiters = [waiter for waiter in self._waiters if not waiter.rung.is_set()]
        search_ids = {waiter.search_id for waiter in waiters if waiter.search_id is not None}
        newest, queued = await asyncio.to_thread(self._look, sorted(search_ids), any(w.datasets for w in waiters))
        for waiter in waiters:
            if waiter.search_id is not None:
                if newest.get(waiter.search_id, waiter.after + 1) > waiter.after:  # a search that is gone is news
                    waiter.rung.set()
                continue
            mine = next((need for need, count in queued.items() if count > 0 and waiter.can_train(need)), None)
            if mine is not None:
                queued[mine] -= 1
                waiter.rung.set()

    def _look(self, search_ids: list[int], for_workers: bool) -> tuple[dict[int, int], dict[Need, int]]:
        with self._database.read() as connection:
            newest = last_event_of(connection, search_ids) if search_ids else {}
            return newest, queued_trials_per_need(connection) if for_workers else {}
