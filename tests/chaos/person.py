"""What people do meanwhile: keep searches coming, pause and resume them, extend and cancel a few. Through the proxy."""

import threading
from collections import Counter
from collections.abc import Callable
from random import Random
from time import monotonic, sleep
from typing import Any

from nas_service.client import ApiError, Client, ServerUnreachable
from nas_service.messages import SearchDetail
from tests.builders import ARMS, a_search_file

AT_ONCE = 3  # searches that run at the same time
ENDED = ("finished", "cancelled", "failed")


def search_file(number: int, trials_per_arm: int) -> dict[str, Any]:
    """Every third search is the same: two arms by the frontier sampler, early stopping, replicates by TPE."""
    common = {"name": f"storm {number}", "seed": number, "max_failures": 10_000}
    budget = {"trials_per_arm": trials_per_arm}
    kinds: list[dict[str, Any]] = [
        {"sampler": "frontier", "arms": ARMS, "recipe": {"epochs": 3}},
        {"sampler": "random", "stopping": "halving", "recipe": {"epochs": 9}},
        {"sampler": "tpe", "keep_networks": "all", "recipe": {"epochs": 2, "replicates": 2}},
    ]
    return a_search_file(**common, budget=budget, **kinds[number % len(kinds)])


class Person:
    """A thread with a client of its own; a call without an answer is left at that."""

    def __init__(self, server: str, seed: int, trials_per_arm: int) -> None:
        self.counts: Counter[str] = Counter()
        self._client = Client(server)
        self._random = Random(seed)
        self._trials_per_arm = trials_per_arm
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, name="person")
        self._thread.start()

    def leave(self) -> None:
        """Do nothing more; every search runs to its end."""
        self._stop.set()
        self._thread.join()

    def wait_for_the_end(self, seconds: float, meanwhile: Callable[[], None]) -> None:
        """Wait until every search has ended; what is paused is resumed. Raises AssertionError when it takes longer."""
        deadline = monotonic() + seconds
        while True:
            meanwhile()
            try:
                open_searches = [search for search in self._client.searches(500) if search.state not in ENDED]
                for search in open_searches:
                    if search.state == "paused":
                        self._client.resume(search.id)
                if not open_searches:
                    return
            except (ServerUnreachable, ApiError):
                open_searches = []
            left = [(search.id, search.state, search.waiting_because, search.arms) for search in open_searches]
            assert monotonic() < deadline, f"not within {seconds:.0f} s: every search has ended; open: {left}"
            sleep(0.2)

    def close(self) -> None:
        self._client.close()

    def _live(self) -> None:
        while not self._stop.is_set():
            try:
                self._act(self._client.searches(500))
            except (ServerUnreachable, ApiError):
                self.counts["person's call without success"] += 1
            self._stop.wait(self._random.uniform(0.2, 1.0))

    def _act(self, searches: list[SearchDetail]) -> None:
        running = [search for search in searches if search.state == "running"]
        paused = [search for search in searches if search.state == "paused"]
        finished = [search for search in searches if search.state == "finished"]
        roll = self._random.random()
        if len(running) + len(paused) < AT_ONCE:
            self._client.submit(search_file(len(searches), self._trials_per_arm))
            self.counts["search submitted"] += 1
        elif paused and roll < 0.8:
            self._client.resume(paused[0].id)
            self.counts["search resumed"] += 1
        elif running and not paused and roll < 0.1:
            self._client.pause(self._random.choice(running).id)
            self.counts["search paused"] += 1
        elif 0.1 < roll < 0.15 and (running or finished):
            search = self._random.choice([*running, *finished])
            self._client.extend(search.id, search.budget + 5)
            self.counts["budget extended"] += 1
        elif running and roll > 0.98:
            self._client.cancel(self._random.choice(running).id)
            self.counts["search cancelled"] += 1
