"""How often verdicts are right: on made-up searches whose truth is known.

    python benchmarks/verdicts.py

Two arms of 60 random shapes each; a shape's noise-free quality rises with the logarithm of its cost, less a loss of its
own. The search sees it with the noise of one seed, whose size differs from shape to shape. What it selects at twelve
budgets is judged with five fresh seeds, or with the search's own seeds where there is no confirmation. Prints how often
the intervals cover the truth (aim 90 to 98%), how often `better` is false (aim below 5% per budget) and how often it is
said where the true gap is about four standard errors (aim 80% and more).
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from nas_service.analysis.selection import Floats, Shape
from nas_service.analysis.verdicts import Contest, Word, budget_grid, contest

SHAPES = 60  # of an arm
SEEDS = 5  # of a confirmation
NOISE = 0.02  # of one seed, in dB
UNIT = NOISE * np.sqrt(2 / SEEDS)  # the standard error of a confirmed difference, in dB
REFERENCE = (5e6, 20.0)


@dataclass(frozen=True)
class Scenario:
    """A law of truth, and how a search is judged."""

    name: str
    advantage: Callable[[Floats], Floats]  # of the first arm, in dB, at costs (n,)
    own_seeds: tuple[int, int] = (1, 1)  # of the first and the second arm
    is_confirmed: bool = True

    @property
    def unit(self) -> float:
        """The standard error of a difference, in dB."""
        seeds = (SEEDS, SEEDS) if self.is_confirmed else self.own_seeds
        return float(NOISE * np.sqrt(sum(1 / count for count in seeds)))


@dataclass(frozen=True)
class Answer:
    """What became of one made-up search: per budget (g,), where both arms have a shape."""

    covered: Floats
    gaps: Floats  # true ones, in dB
    is_better: Floats
    is_better_in_family: Floats
    volume_covered: bool


SCENARIOS = [
    Scenario("equal arms", lambda costs: 0 * costs),
    Scenario("better by 4 standard errors", lambda costs: 0 * costs + 4 * UNIT),
    Scenario("better above 1M only", lambda costs: np.where(costs > 1e6, 4 * UNIT, 0.0)),
    Scenario("equal arms, 3 own seeds", lambda costs: 0 * costs, own_seeds=(3, 3), is_confirmed=False),
    Scenario("better by 4, 3 own seeds", lambda costs: 0 * costs + 4 * UNIT, own_seeds=(3, 3), is_confirmed=False),
    Scenario("equal arms, 1 against 5 own seeds", lambda costs: 0 * costs, own_seeds=(1, 5), is_confirmed=False),
]


def made_up_arm(
    generator: np.random.Generator, scenario: Scenario, advantage: Callable[[Floats], Floats], own_seeds: int
) -> tuple[list[Shape], dict[str, float]]:
    """An arm's shapes as its search measured them, and their noise-free qualities by name."""
    costs = np.sort(10 ** generator.uniform(5, 6.69, SHAPES))
    truth = 22 + np.log10(costs / 1e5) - generator.exponential(0.05, SHAPES) + advantage(costs)
    spread = NOISE * np.exp(generator.normal(0, 0.3, SHAPES))
    own = truth[:, None] + spread[:, None] * generator.standard_normal((SHAPES, own_seeds))
    fresh = truth[:, None] + spread[:, None] * generator.standard_normal((SHAPES, SEEDS))
    shapes, best = [], -np.inf
    for place, cost in enumerate(costs):
        measured = float(own[place].mean())
        if scenario.is_confirmed and measured <= best:
            continue  # only the front is trained again
        best = max(best, measured)
        seeds = fresh[place] if scenario.is_confirmed else own[place]
        name = f"{place}"
        shapes.append(Shape(name, float(cost), measured, own_seeds, tuple(seeds), scenario.is_confirmed))
    return shapes, {f"{place}": float(value) for place, value in enumerate(truth)}


def answer(scenario: Scenario, seed: int) -> Answer:
    """Make a search up and judge it."""
    generator = np.random.default_rng(seed)
    first, truth = made_up_arm(generator, scenario, scenario.advantage, scenario.own_seeds[0])
    second, other_truth = made_up_arm(generator, scenario, lambda costs: 0 * costs, scenario.own_seeds[1])
    found = contest(first, second, budget_grid([first, second]), REFERENCE)
    rows = []
    for row in found.differences:
        if row.first and row.second and row.quality and row.quality.low is not None and row.quality.high is not None:
            gap = truth[row.first.shape.name] - other_truth[row.second.shape.name]
            covered = row.quality.low <= gap <= row.quality.high
            rows.append((covered, gap, row.word is Word.BETTER, row.family_word is Word.BETTER))
    covered, gaps, better, family = np.array(rows, dtype=float).T
    volume = true_volume(first, truth) - true_volume(second, other_truth)
    return Answer(covered, gaps, better, family, _covers(found, volume))


def true_volume(shapes: list[Shape], truth: dict[str, float]) -> float:
    """The area under the noise-free qualities of what is selected, above the reference."""
    volume, best, height, since = 0.0, -np.inf, 0.0, 0.0
    for shape in sorted(shapes, key=lambda shape: shape.cost):
        if shape.measured > best:
            volume += height * (np.log10(shape.cost) - since)
            best, height, since = shape.measured, truth[shape.name] - REFERENCE[1], np.log10(shape.cost)
    return float(volume + height * (np.log10(REFERENCE[0]) - since))


def _covers(found: Contest, volume: float) -> bool:
    low, high = found.hypervolume.low, found.hypervolume.high
    return low is not None and high is not None and low <= volume <= high


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=200)
    options = parser.parse_args()
    table = Table("search", "covered", "volume covered", "false better", "in the family", "better at 3.5 to 4.5 errors")
    for scenario in SCENARIOS:
        answers = [answer(scenario, seed) for seed in range(options.simulations)]
        table.add_row(scenario.name, *figures(answers, scenario.unit))
    Console().print(table)


def figures(answers: list[Answer], unit: float) -> list[str]:
    """One row of the table."""
    gaps = np.concatenate([one.gaps for one in answers])
    better = np.concatenate([one.is_better for one in answers])
    none, clear = gaps <= 0, (gaps > 3.5 * unit) & (gaps < 4.5 * unit)
    any_false = [bool(np.any(one.is_better_in_family[one.gaps <= 0])) for one in answers]
    return [
        f"{np.concatenate([one.covered for one in answers]).mean():.1%}",
        f"{np.mean([one.volume_covered for one in answers]):.1%}",
        f"{better[none].mean():.1%} of {none.sum():,}",
        f"{np.mean(any_false):.1%}",
        f"{better[clear].mean():.1%} of {clear.sum():,}" if clear.any() else "",
    ]


if __name__ == "__main__":
    main()
