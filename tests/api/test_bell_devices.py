"""A waiting worker is woken for a trial that its device may train, and for no other."""

import asyncio
from contextlib import suppress

from api.bell import Bell
from nas_service.database import Database
from tests.builders import enqueued, submitted


def rings(database: Database, device: str) -> bool:
    async def wait() -> bool:
        bell = Bell(database, poll_seconds=0.01)
        looking = asyncio.create_task(bell.run())
        try:
            return await bell.wait_for_trial({"digits": None}, device, seconds=0.5)
        finally:
            looking.cancel()
            with suppress(asyncio.CancelledError):
                await looking

    return asyncio.run(wait())


def test_a_worker_is_woken_for_a_trial_of_its_device_only(database: Database) -> None:
    enqueued(database, submitted(database, device="cuda"))
    assert rings(database, "NVIDIA H200")
    assert not rings(database, "cpu (x86_64)")
    enqueued(database, submitted(database))
    assert rings(database, "cpu (x86_64)")
