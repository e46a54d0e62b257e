"""Which sampler proposes a trial, and from which seed. Each ask gets a fresh one: only history is remembered."""

import hashlib
import warnings
from collections.abc import Callable, Sequence

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler

from nas_service.domain.costs import Costs
from nas_service.domain.objectives import Objective
from nas_service.domain.search import OptunaSampler, Search
from nas_service.optimizer.frontier import Fits, FrontierSampler
from nas_service.optimizer.space import Params, Space
from nas_service.optimizer.stand_ins import on_axis

# Optuna's 50 would leave a budget of 40 trials wholly random; with 20, half of such a budget is bred from the other
# half, and a generation still spreads over a front of two or three objectives.
POPULATION = 20


def optunas_sampler(name: OptunaSampler, seed: int) -> BaseSampler:
    """A fresh sampler that comes with Optuna; the seed is a whole number below 2**32."""
    match name:
        case "tpe":
            # Multivariate, although Optuna's default for several objectives is not: d_z, d_h and depth are bound
            # together by the family and the limits, and it takes one fit instead of four. Over 8 seeds of 40 trials:
            # hypervolume +2 to +4 %, refusals the same or fewer; at 5 % of the box legal -2 %, and more of them. The
            # constant liar keeps parallel asks apart.
            return TPESampler(seed=seed, multivariate=True, constant_liar=True)
        case "nsga2":
            return NSGAIISampler(seed=seed, population_size=POPULATION)
        case "nsga3":
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "NSGAIIISampler is experimental", ExperimentalWarning)
                return NSGAIIISampler(seed=seed, population_size=POPULATION)
        case "gp":
            return GPSampler(seed=seed, warn_independent_sampling=False)
        case "random":
            return RandomSampler(seed=seed)


def frontier_sampler(
    objectives: Sequence[Objective],
    reference: Sequence[float | None],
    space: Space,
    costs_of: Callable[[Params], Costs | None],
    constraints: dict[str, Callable[[Params], float]],
    seed: int,
    fits: Fits,
) -> FrontierSampler:
    """A fresh sampler that knows the costs of an arm's architectures.

    Args:
        objectives: of the search.
        reference: the worst value that counts of each, in its own unit; None where it is not known.
        space: the arm's.
        costs_of: the known costs of parameters; those of legal ones are asked for.
        constraints: how far parameters are from what is allowed, by the name that trials carry.
        seed: a whole number below 2**32.
        fits: hyperparameters found before.
    """

    def cost_of(objective: Objective) -> Callable[[Params], float]:
        return lambda params: on_axis(objective, float(getattr(costs_of(params), objective.name)))

    return FrontierSampler(
        {index: cost_of(objective) for index, objective in enumerate(objectives) if objective.is_known},
        reference_point=[
            None if worst is None else on_axis(objective, worst)
            for objective, worst in zip(objectives, reference, strict=True)
        ],
        search_space=space.distributions,
        constraints=constraints,
        seed=seed,
        fits=fits,
    )


def seed_of(search: Search, arm: str, number: int, purpose: str) -> int:
    """A seed below 2**32 that depends on nothing but the arguments, in every process and version of Python."""
    digest = hashlib.sha256(f"{purpose}/{search.seed}/{arm}/{number}".encode()).digest()
    return int.from_bytes(digest[:4])


def is_random(search: Search, arm: str, number: int) -> bool:
    """Whether the trial of that number is drawn at random whatever the history: a share `random_fraction` of them."""
    return seed_of(search, arm, number, "origin") < search.random_fraction * 2**32
