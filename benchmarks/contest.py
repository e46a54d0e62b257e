"""One sampler searching a surrogate once, and the time of its asks.

Illegal proposals are told as refused, as the service tells them, and count neither as trials nor against anybody.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import Trial, create_trial

from benchmarks.surrogate import DenseFront, Floats, Surrogate, minimised
from nas_service.domain.front import non_dominated
from nas_service.optimizer import FrontierSampler
from nas_service.optimizer.samplers import optunas_sampler

REFUSED = "refused"  # the constraint's name, as in the service
SIZES = ("d_z", "d_h", "depth")
TYPES: dict[str, Callable[[float], float]] = {**dict.fromkeys(SIZES, int), "lr": float}

Params = dict[str, Any]


@dataclass(frozen=True)
class Entry:
    """A sampler and how it has to search."""

    sampler: str  # as a search file names it
    trials: int  # completed ones
    knows_reference: bool = True  # of the frontier sampler; the others cannot be told
    in_flight: int = 1  # trials asked and not told
    noise_db: float = 0.0  # standard deviation, of every PSNR that is told


@dataclass(frozen=True)
class Run:
    """What became of it; trials in the order in which they were told."""

    told: Floats  # (n, m)
    true: Floats  # (n, m), without noise
    seconds: float  # of the CPU, mean of an ask with its suggestions and its tell
    refused: int

    def volume(self, surrogate: Surrogate, trials: int) -> float:
        """What the networks that look non-dominated after so many trials are truly worth."""
        chosen = non_dominated(minimised(self.told[:trials]))
        return surrogate.hypervolume(self.true[:trials][chosen])

    def trials_to(self, surrogate: Surrogate, volume: float) -> int | None:
        """How many trials it took to be worth so much; None when it was never."""
        reached = (n for n in range(1, len(self.told) + 1) if self.volume(surrogate, n) >= volume)
        return next(reached, None)


def run(surrogate: Surrogate, entry: Entry, seed: int) -> Run:
    """Let a sampler search."""
    return _Search(surrogate, entry, seed).to_the_end()


def seconds_of_asks(surrogate: Surrogate, front: DenseFront, finished: int, asks: int) -> list[float]:
    """CPU seconds of the frontier sampler for each of consecutive asks with suggestions and tell.

    The finished trials are random ones and points of the dense front, in turn, so that the front that the sampler sees
    is as long as that of a search that went well.
    """
    rng = np.random.default_rng(0)
    search = _Search(surrogate, Entry("frontier", finished + asks), seed=0)
    anywhere = surrogate.draw(2 * finished, rng)  # a box may be illegal in part
    best = rng.permutation(front.x)
    for number in range(finished):
        some = (anywhere, best)[number % 2]
        search.add(some[number // 2 % len(some)])
    return [search.step() for _ in range(asks)]


@dataclass
class _Search:
    """A study, the sampler and the trials that run."""

    surrogate: Surrogate
    entry: Entry
    seed: int
    told: list[Floats] = field(default_factory=list)
    true: list[Floats] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self) -> None:
        sampler = _sampler(self.surrogate, self.entry, self.seed)
        self._study = optuna.create_study(directions=self.surrogate.directions, sampler=sampler)
        self._space = self.surrogate.distributions
        self._running = deque[Trial]()
        self._noise = np.random.default_rng(self.seed)

    def to_the_end(self) -> Run:
        seconds = [self.step() for _ in range(self.entry.trials)]
        return Run(np.array(self.told), np.array(self.true), float(np.mean(seconds)), self.refused)

    def step(self) -> float:
        """Fill up what is in flight and tell the trial that has run longest; CPU seconds of one ask and its tell."""
        asked = 0
        began = time.process_time()
        while len(self._running) < self.entry.in_flight:
            self._running.append(self._ask_legal())
            asked += 1
        seconds = (time.process_time() - began) / max(asked, 1)
        trial = self._running.popleft()
        true, told = self._train(trial.params)
        began = time.process_time()
        self._study.tell(trial, told.tolist())
        self.told.append(told)
        self.true.append(true)
        return seconds + time.process_time() - began

    def add(self, x: Floats) -> None:
        """A finished trial that the sampler did not ask for."""
        params = {name: type_of(value) for (name, type_of), value in zip(TYPES.items(), x.tolist(), strict=True)}
        violation = {REFUSED: _violation(self.surrogate, params)}
        values = self._train(params)[1].tolist()
        self._study.add_trial(
            create_trial(params=params, distributions=self._space, values=values, constraints=violation)
        )

    def _ask_legal(self) -> Trial:
        while True:
            trial = self._study.ask(self._space)
            violation = _violation(self.surrogate, trial.params)
            trial.set_constraint(REFUSED, violation)
            if violation <= 0:
                return trial
            self.refused += 1
            self._study.tell(trial, self._stand_in())

    def _stand_in(self) -> list[float]:
        """Values of a refused trial: the largest costs and the worst PSNR so far, as in the service."""
        *costs, trivial = self.surrogate.reference.tolist()
        return [*costs, min((float(values[-1]) for values in self.told), default=trivial)]

    def _train(self, params: Params) -> tuple[Floats, Floats]:
        """Objectives without and with noise."""
        true = self.surrogate.values(np.array([[float(params[name]) for name in TYPES]]))[0]
        told = true.copy()
        told[-1] += self.entry.noise_db * self._noise.standard_normal()
        return true, told


def _sampler(surrogate: Surrogate, entry: Entry, seed: int) -> BaseSampler:
    if entry.sampler != "frontier":
        return optunas_sampler(entry.sampler, seed)
    return FrontierSampler(
        {index: partial(_cost, surrogate, index) for index in range(len(surrogate.directions) - 1)},
        reference_point=surrogate.reference.tolist() if entry.knows_reference else None,
        search_space=surrogate.distributions,
        constraints={REFUSED: partial(_violation, surrogate)},
        seed=seed,
    )


def _cost(surrogate: Surrogate, index: int, params: Params) -> float:
    return surrogate.cost(index, *(params[name] for name in SIZES))


def _violation(surrogate: Surrogate, params: Params) -> float:
    return surrogate.violation(params["d_z"], params["d_h"])
