"""The search that `front.py` submits: which arms, how large a space each, what counts.

Every end of a space is the smallest or largest that the table publishes of that family, the upper ends cut to what the
limit on parameters allows beside the smallest of the others. Leaves out what the table says of quality, but for the
reference: a network below the worst tenth of the published hourglasses is of no use.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks.published_table import Configuration
from nas_service.domain.architecture import Family, TaskShape, WIn, WOut
from nas_service.domain.costs import known_costs
from nas_service.domain.published import PublishedArm, published_task
from nas_service.domain.search import Budget, Recipe, SamplerName, Search
from nas_service.domain.tasks import task_shape

ARMS = {
    "hourglass": PublishedArm(family=Family.HOURGLASS, w_in=WIn.LEARNED, w_out=WOut.LEARNED),
    "hourglass-plain": PublishedArm(family=Family.HOURGLASS, w_in=WIn.NONE, w_out=WOut.NONE),
    "conventional-plain": PublishedArm(family=Family.CONVENTIONAL, w_in=WIn.NONE, w_out=WOut.NONE),
    "hourglass-fixed": PublishedArm(family=Family.HOURGLASS, w_in=WIn.FIXED_IDENTITY_PADDED, w_out=WOut.LEARNED),
    "conventional": PublishedArm(family=Family.CONVENTIONAL, w_in=WIn.LEARNED, w_out=WOut.LEARNED),
}
DEFAULT_ARMS = ("hourglass", "hourglass-plain", "conventional-plain")
LR = (1e-4, 3e-3)
MAIN_ARM = "hourglass_learned_in"  # the published one that is to be reached
REFERENCE_QUANTILES = (0.1, 0.3)  # of its published PSNRs: where hypervolumes begin; the search is told the first

Range = tuple[int, int]


def front_search(
    task: str,
    published: Sequence[Configuration],
    arms: Sequence[str],
    max_parameters: int,
    recipe: Recipe,
    epochs_per_arm: int,
    sampler: SamplerName = "frontier",
    seed: int = 0,
) -> Search:
    """The search of these arms within the limit.

    Raises:
        ValueError: when the table lacks an arm's family or has nothing within the limit, or an arm is illegal.
    """
    dataset, kind = published_task(task)
    shape = task_shape(kind, dataset)
    reference = reference_db(published, max_parameters, REFERENCE_QUANTILES[0])
    return Search.model_validate(
        {
            "name": search_name(task),
            "seed": seed,
            "dataset": dataset,
            "task": kind,
            "recipe": recipe,
            "arms": {
                name: dict(ARMS[name]) | space_of(ARMS[name], published, shape, max_parameters) | {"lr": LR}
                for name in arms
            },
            "objectives": [
                {"name": "parameters_trainable", "scale": "log"},
                {"name": "psnr_db", "reference": reference},
            ],
            "limits": {"max_parameters": max_parameters},
            "budget": Budget(epochs_per_arm=epochs_per_arm),
            "sampler": sampler,
        }
    )


def search_name(task: str) -> str:
    """How the search of a table's task is called in its folder."""
    return f"front of {task}"


def reference_db(published: Iterable[Configuration], max_parameters: int, quantile: float) -> float:
    """That quantile of the PSNRs of the main arm's published networks within the limit.

    Raises:
        ValueError: when there are none.
    """
    found = [row.mean_psnr_db for row in published if row.arm == MAIN_ARM and row.params <= max_parameters]
    if not found:
        raise ValueError(f"the table has no {MAIN_ARM} of up to {max_parameters:,} parameters")
    return round(float(np.quantile(found, quantile)), 3)


def space_of(
    arm: PublishedArm, published: Iterable[Configuration], shape: TaskShape, max_parameters: int
) -> dict[str, Range]:
    """Lowest and highest d_z, d_h and depth of an arm.

    Raises:
        ValueError: when the table has none of its family.
    """
    rows = [row.architecture for row in published]
    rows = [row for row in rows if row.family is arm.family]
    if not rows:
        raise ValueError(f"the table has no {arm.family} from which a space could be taken")
    is_plain, is_hourglass = arm.w_in is WIn.NONE, arm.family is Family.HOURGLASS
    d_z = (shape.d_x, shape.d_x) if is_plain else _ends(row.d_z for row in rows)
    low_h, high_h = _ends(row.d_h for row in rows)
    d_h = (low_h, min(high_h, d_z[1] - 1)) if is_hourglass else (low_h, high_h)
    ranges = {"d_z": d_z, "d_h": d_h, "depth": _ends(row.depth for row in rows)}
    lowest = {name: low for name, (low, _) in ranges.items()}

    def is_over(name: str, value: int) -> bool:
        sizes = lowest | {name: value}
        if is_hourglass:
            sizes["d_z"] = max(sizes["d_z"], sizes["d_h"] + 1)
        return known_costs(arm.architecture(**sizes), shape).parameters_trainable > max_parameters

    def highest(name: str, low: int, high: int) -> int:
        fitting = bisect_left(range(low, high + 1), True, key=lambda value: is_over(name, value))
        return low + max(fitting - 1, 0)

    return {name: (low, highest(name, low, high)) for name, (low, high) in ranges.items()}


def _ends(sizes: Iterable[int]) -> Range:
    found = set(sizes)
    return min(found), max(found)
