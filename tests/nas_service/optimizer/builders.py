"""Searches, pretended training, and a scheduler in a few lines: three trials at a time that end in shuffled order."""

from math import log10
from random import Random
from typing import Any

from nas_service.domain.search import Search
from nas_service.domain.trial import Ask, DrawnOrigin, Proposal
from nas_service.optimizer import ArmStudy, End, Outcome, Record
from nas_service.optimizer.legality import judge
from nas_service.optimizer.space import Space

ARM = "hourglass"
A_WIDE_ARM = {"family": "hourglass", "d_z": [64, 512], "d_h": [4, 500], "depth": [1, 8], "lr": [1e-4, 3e-3]}


def a_search(sampler: str = "tpe", arm: dict[str, Any] | None = None, **given: Any) -> Search:
    fields: dict[str, Any] = {
        "name": "a search",
        "dataset": {"name": "digits"},
        "task": {"kind": "denoising"},
        "arms": {ARM: arm or A_WIDE_ARM},
        "budget": {"trials_per_arm": 40},
        "sampler": sampler,
    }
    return Search.model_validate(fields | given)


def a_study(sampler: str = "tpe", arm: dict[str, Any] | None = None, **given: Any) -> ArmStudy:
    return ArmStudy(a_search(sampler, arm, **given), ARM)


def trained(proposal: Proposal) -> Outcome:
    """A result that grows with the parameters and has a best learning rate and depth."""
    assert proposal.costs is not None
    assert proposal.architecture is not None
    assert isinstance(proposal.lr, float)
    parameters = proposal.costs.parameters_trainable
    psnr_db = 10 + 2 * log10(parameters) - (log10(proposal.lr) + 3) ** 2 - 0.1 * (proposal.architecture.depth - 3) ** 2
    return Outcome(End.COMPLETED, (float(parameters), psnr_db))


def through_json(record: Record) -> Record:
    ask = Ask.model_validate_json(record.ask.model_dump_json())
    return Record(record.number, ask, record.outcome)


class History:
    """The rows of one arm, and who knew what when."""

    def __init__(self, study: ArmStudy) -> None:
        self.study = study
        self.proposals: list[Proposal] = []
        self.outcomes: dict[int, Outcome] = {}
        self.told_before: list[set[int]] = []  # by number: the trials that had been told when it was asked

    def extend(self, legal: int, at_once: int = 3, seed: int = 0) -> "History":
        """Propose and train that many more legal trials, or until the arm is exhausted."""
        random = Random(seed)
        running: list[Proposal] = []
        for _ in range(legal):
            if len(running) == at_once:
                self.end(running.pop(random.randrange(at_once)), random)
            accepted = self.propose()
            if accepted is None:
                break
            running.append(accepted)
        return self

    def propose(self, origin: DrawnOrigin | None = None) -> Proposal | None:
        told = set(self.outcomes)
        proposals = self.study.propose(origin)
        for refused in proposals.refused:
            self.add(refused, told)
            self.outcomes[refused.number] = Outcome(End.REFUSED)
            told = set(self.outcomes)
        if proposals.accepted is not None:
            self.add(proposals.accepted, told)
        return proposals.accepted

    def refuse(self, proposal: Proposal) -> None:
        self.add(proposal, set(self.outcomes))
        self.outcomes[proposal.number] = Outcome(End.REFUSED)
        self.study.tell(proposal.number, Outcome(End.REFUSED))

    def rows(self, asked: int | None = None) -> list[Record]:
        """The rows as they stood when that number was asked, after a walk through JSON; None: as they stand now."""
        told = set(self.outcomes) if asked is None else self.told_before[asked]
        return [
            through_json(Record(row.number, row.ask, self.outcomes[row.number] if row.number in told else None))
            for row in self.proposals[:asked]
        ]

    @property
    def legal(self) -> list[Proposal]:
        return [proposal for proposal in self.proposals if proposal.violation == 0]

    def add(self, proposal: Proposal, told: set[int]) -> None:
        """Note a proposal and what had been told before it."""
        self.proposals.append(proposal)
        self.told_before.append(told)

    def end(self, proposal: Proposal, random: Random | None = None) -> None:
        """Train; with a `random`, one in ten diverges and one in ten runs out of memory."""
        chance = random.random() if random else 1.0
        outcome = Outcome(End.PRUNED) if chance < 0.1 else Outcome(End.FAILED) if chance < 0.2 else trained(proposal)
        self.study.tell(proposal.number, outcome)
        self.outcomes[proposal.number] = outcome


def limit_leaving(share: float, arm: dict[str, Any] = A_WIDE_ARM) -> int:
    """The `max_parameters` that leaves about this share of the arm's box, as samplers draw from it, legal."""
    search = a_search("random", arm)
    random = Random(0)
    space = Space(search.arms[ARM])
    ranges = [(name, dist.low, dist.high) for name, dist in space.distributions.items()]
    drawn = [{name: low * (high / low) ** random.random() for name, low, high in ranges} for _ in range(2000)]
    verdicts = [judge(search, search.arms[ARM], space.decode(params)[:3]) for params in drawn]
    costs = sorted(verdict.costs.parameters_trainable for verdict in verdicts if verdict.costs is not None)
    return costs[int(share * len(drawn))]
