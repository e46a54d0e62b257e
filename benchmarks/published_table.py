"""A table of published runs: reading it, holding its counts of weights against ours, choosing rows to train again.

Leaves out the training (`published.py`) and the rows themselves (`nas_service/domain/published_table.py`).
"""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from nas_service.domain.costs import known_costs
from nas_service.domain.published import published_task
from nas_service.domain.published_table import Configuration, PublishedRun, configurations, published_runs
from nas_service.domain.tasks import task_shape

__all__ = ["Configuration", "choose", "configurations", "disagreements", "find", "read_table"]

MARGIN = 0.1  # of an arm's shapes, at both ends, from which no row is chosen: the largest take hours


def read_table(path: Path) -> list[PublishedRun]:
    """Read every row.

    Raises:
        ValueError: when a column is missing or a number is none.
    """
    with path.open(newline="") as file:
        return published_runs(file)


def disagreements(runs: Iterable[PublishedRun]) -> list[tuple[PublishedRun, int]]:
    """The rows whose count of weights is not ours, each with ours."""
    wrong = []
    for run in runs:
        dataset, task = published_task(run.task)
        ours = known_costs(run.architecture, task_shape(task, dataset)).parameters_trainable
        if ours != run.params:
            wrong.append((run, ours))
    return wrong


def choose(candidates: Iterable[Configuration], count: int) -> list[Configuration]:
    """Rows spread over the table: arms in turn, the one of most shapes first; in each arm from small to large.

    Every shape stands there with its best published learning rate. The same table gives the same rows.
    """
    by_arm: dict[str, list[Configuration]] = defaultdict(list)
    for best in best_of_each_shape(candidates):
        by_arm[best.arm].append(best)
    arms = sorted(by_arm, key=lambda arm: (-len(by_arm[arm]), arm))
    rounds = max(map(len, by_arm.values()))
    turns = [arm for number in range(rounds) for arm in arms if number < len(by_arm[arm])][:count]
    return [row for arm in arms for row in spread(sorted(by_arm[arm], key=_size), turns.count(arm))]


def best_of_each_shape(candidates: Iterable[Configuration]) -> list[Configuration]:
    """The best published learning rate of every shape."""
    best: dict[tuple[str, int, int, int], Configuration] = {}
    for candidate in candidates:
        held = best.get(candidate.shape)
        if held is None or candidate.mean_psnr_db > held.mean_psnr_db:
            best[candidate.shape] = candidate
    return list(best.values())


def spread(items: list[Configuration], count: int) -> list[Configuration]:
    """That many of the items, at even distances from near the first to near the last; the middle one when it is one."""
    assert count <= len(items)
    last = len(items) - 1
    if count <= 1:
        return items[last // 2 :][:count]
    margin = min(round(MARGIN * last), (len(items) - count) // 2)
    return [items[margin + round((last - 2 * margin) * place / (count - 1))] for place in range(count)]


def find(candidates: Iterable[Configuration], name: str) -> Configuration:
    """The configuration of that name, ARM:D_Z/D_HxDEPTH:LR.

    Raises:
        ValueError: when the table has none.
    """
    for candidate in candidates:
        if candidate.name == name:
            return candidate
    raise ValueError(f"the table has no row {name!r} in this budget; expected ARM:D_Z/D_HxDEPTH:LR")


def _size(configuration: Configuration) -> tuple[int, int, int, int]:
    return configuration.params, configuration.d_z, configuration.d_h, configuration.depth
