"""Workers that finish a trial at once: quality follows from the shape, so that samplers have something to learn."""

from collections.abc import Callable
from random import Random

from nas_service.database import Database
from nas_service.database.searches import search_by_id
from nas_service.domain.states import SearchState
from nas_service.lifecycle.finish import finish
from nas_service.lifecycle.lease import lease
from nas_service.messages import Lease, Result
from nas_service.scheduler import Scheduler
from nas_service.settings import Settings
from tests.builders import a_request, a_result


def quality_of(lease: Lease) -> float:
    shape = lease.architecture
    return 20 + shape.depth**0.5 + shape.d_h / 100 - abs(shape.d_z - 90) / 50


def result_of(lease: Lease) -> Result:
    """A completed result; what a device would measure grows with the network."""
    weights = lease.architecture.depth * lease.architecture.d_z * lease.architecture.d_h
    result = a_result(quality_of(lease))
    measured = dict.fromkeys(lease.measure, 0.1 + weights / 1e4)
    return result if not measured else a_result(metrics={**(result.metrics or {}), "measured": measured})


def run_search(
    database: Database,
    new_scheduler: Callable[[], Scheduler],
    settings: Settings,
    search_id: int,
    at_once: int = 1,
    restart_every: int | None = None,
    rounds: int = 500,
) -> None:
    """Drive a search to its end with `at_once` workers; results arrive in a shuffled but fixed order."""
    scheduler, order, held, calls = new_scheduler(), Random(0), list[Lease](), 0
    for round_number in range(rounds):
        if restart_every and round_number % restart_every == 0:
            scheduler = new_scheduler()
        scheduler.tick()
        with database.read() as connection:
            search = search_by_id(connection, search_id)
        if search is None or search.state is not SearchState.RUNNING:
            return
        while len(held) < at_once:
            calls += 1
            with database.write() as connection:
                granted = lease(connection, a_request(f"request-{calls}", id=f"w{calls % at_once}"), settings)
            if granted is None:
                break
            held.append(granted)
            scheduler.tick()
        if held:
            done = held.pop(order.randrange(len(held)))
            with database.write() as connection:
                finish(connection, done.lease_id, done.token, result_of(done))
    raise AssertionError(f"the search did not end in {rounds} rounds")
