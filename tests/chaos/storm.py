"""A storm from beginning to end: start everything, deal faults, heal, let every search end, check what is left."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from tests.chaos.cast import Cast
from tests.chaos.checks import violations
from tests.chaos.hand import Hand
from tests.chaos.history import History, read_history
from tests.chaos.person import Person

SERVERS, SCHEDULERS = 2, 2


@dataclass(frozen=True)
class Storm:
    """How wild it is."""

    seconds: float  # of faults; the end comes later
    seed: int = 0
    workers: int = 16
    trials_per_arm: int = 20
    seconds_to_end: float = 300  # that the searches may take once everything is healed


@dataclass(frozen=True)
class Outcome:
    """What happened."""

    faults: Mapping[str, int]
    counts: Mapping[str, int]
    violations: list[str]
    seconds: float

    def text(self) -> str:
        """For people."""
        lines = [f"{self.seconds:.0f} s, {sum(self.faults.values())} faults"]
        lines += [f"  {count:6}  {name}" for name, count in sorted(self.faults.items())]
        lines += ["what came of it", *(f"  {count:6}  {name}" for name, count in self.counts.items())]
        lines += ["every promise held"] if not self.violations else [f"BROKEN: {found}" for found in self.violations]
        return "\n".join(lines)


def run(storm: Storm, folder: Path) -> Outcome:
    """Let a storm happen in that folder.

    Raises:
        AssertionError: when the searches do not end.
    """
    began = monotonic()
    cast = Cast(folder, storm.seed, SERVERS, SCHEDULERS, storm.workers)
    try:
        hand, person = Hand(cast, storm.seed), Person(cast.proxy.url, storm.seed, storm.trials_per_arm)
        try:
            hand.play(storm.seconds)
        finally:
            cast.proxy.calm = True
            hand.heal()
            person.leave()
        try:
            person.wait_for_the_end(storm.seconds_to_end, meanwhile=cast.revive)
        except AssertionError as error:
            words = "\n".join(f"--- {program.name}\n{program.last_words()}" for program in cast.everybody[:4])
            raise AssertionError(f"{error}\n{words}") from None
        finally:
            person.close()
        for worker in cast.workers:  # so that the diaries are whole
            worker.kill()
        diaries = [cast.diary_of(worker) for worker in cast.workers]
        history = read_history(cast.postgres.plain_url, cast.artifacts, diaries)
        found = violations(history) + [
            f"{count} x {who} ended by itself" for who, count in cast.ended_by_themselves.items() if "worker" in who
        ]
        faults = hand.counts + cast.proxy.counts
        counts = {**_counts(history), **person.counts, **cast.ended_by_themselves}
        return Outcome(faults, counts, found, monotonic() - began)
    finally:
        cast.close()


def _counts(history: History) -> dict[str, int]:
    kinds = Counter(event["kind"] for event in history.events)
    states = Counter(trial["state"] for trial in history.trials)
    said = Counter(line["what"] for line in history.diary)
    named = {path for path, _ in history.files.items()} - {row["path"] for row in history.artifacts}
    return {
        "searches": len(history.searches),
        **{f"trials {state}": count for state, count in sorted(states.items())},
        "leases": kinds["trial_leased"],
        "requeues": kinds["trial_requeued"],
        "events": len(history.events),
        "reports accepted": said["report"],
        "results accepted": said["result"],
        "calls refused with 410 (heartbeats after the end among them)": said["lost"],
        "calls that failed otherwise": said["refused"],
        "files that no live row names": len(named),
    }
