"""The hand that kills and freezes: a shuffled deck of faults, dealt evenly over the time, every one repaired later.

Which fault comes next and whom it hits follows from the seed; what the processes were doing just then does not.
"""

from collections import Counter
from collections.abc import Callable
from random import Random
from time import monotonic, sleep

from tests.chaos.cast import LEASE_SECONDS, Cast, Program

DECK = {
    "worker killed": 6,
    "worker frozen past its lease": 6,
    "server killed": 2,
    "server frozen": 1,
    "scheduler killed": 2,
    "scheduler frozen": 1,
    "PostgreSQL killed": 1,
    "PostgreSQL connection killed": 1,
}
LONGEST_PAUSE = 2.0  # seconds between two faults


class Hand:
    """Deals faults to a cast."""

    def __init__(self, cast: Cast, seed: int) -> None:
        self.counts: Counter[str] = Counter()
        self._cast = cast
        self._random = Random(seed)
        self._repairs: list[tuple[float, str, Callable[[], None]]] = []  # (when, whose, how)

    def play(self, seconds: float) -> None:
        """Deal decks until the time is over; each is dealt whole when there are seconds enough for one card each."""
        end, cards = monotonic() + seconds, [card for card, count in DECK.items() for _ in range(count)]
        pause = min(LONGEST_PAUSE, seconds / len(cards))
        while monotonic() < end:
            for card in self._random.sample(cards, len(cards)):
                self._repair_until(monotonic() + self._random.uniform(0.5, 1.3) * pause)
                if monotonic() >= end:
                    break
                self._deal(card)

    def heal(self) -> None:
        """Repair everything now."""
        for _, _, repair in self._repairs:
            repair()
        self._repairs.clear()
        self._cast.revive()

    def _deal(self, card: str) -> None:
        who, what = card.split(" ", 1)
        if who == "PostgreSQL":
            self._hit_postgres(card)
            return
        programs = {"worker": self._cast.workers, "server": self._cast.servers, "scheduler": self._cast.schedulers}[who]
        sound = [program for program in programs if program.is_running and not program.is_frozen]
        if not sound:
            return
        in_the_act = [program for program in sound if who == "worker" and self._cast.has_a_trial(program)]
        program = self._random.choice(in_the_act or sound)
        self.counts[card] += 1
        if what == "killed":
            program.kill()
            self._repair_later(program.name, self._random.uniform(0.1, 2.0), program.start)
        else:
            program.freeze()
            patience = LEASE_SECONDS if who == "worker" else 0.5
            self._repair_later(program.name, patience * self._random.uniform(1.0, 2.5), lambda: _thaw(program))

    def _hit_postgres(self, card: str) -> None:
        if any(name == "PostgreSQL" for _, name, _ in self._repairs):
            return  # it is down
        self.counts[card] += 1
        if card.endswith("connection killed"):
            self._cast.postgres.kill_a_connection(self._random)
        else:
            self._cast.postgres.kill()
            self._repair_later("PostgreSQL", self._random.uniform(0.1, 3.0), self._cast.postgres.start)

    def _repair_later(self, name: str, seconds: float, repair: Callable[[], None]) -> None:
        self._repairs.append((monotonic() + seconds, name, repair))

    def _repair_until(self, moment: float) -> None:
        while True:
            due = [row for row in self._repairs if row[0] <= monotonic()]
            for row in due:
                self._repairs.remove(row)
                row[2]()
            self._cast.revive(spared={name for _, name, _ in self._repairs})
            if monotonic() >= moment:
                return
            sleep(0.05)


def _thaw(program: Program) -> None:
    if program.is_frozen:
        program.thaw()
