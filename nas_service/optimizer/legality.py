"""Whether a candidate may be trained, and how far it is from the line.

The distance is signed and in logarithms of ratios: samplers that model it (GP) see a smooth function, nearly linear in
the logarithms of the sizes; those that only rank refused trials (TPE, NSGA) use its positive part.
"""

from dataclasses import dataclass
from math import log

from nas_service.domain.architecture import Architecture, Family, family_fault, projection_fault
from nas_service.domain.arm import Arm
from nas_service.domain.costs import Costs
from nas_service.domain.search import Search

LEAST_VIOLATION = 1e-6  # of a refused candidate, however close


@dataclass(frozen=True)
class Verdict:
    """What the rules say about a candidate."""

    architecture: Architecture | None  # None when the sizes make none
    costs: Costs | None
    distance: float  # above 0 exactly when it is refused; below 0: how far inside
    message: str | None  # why it is refused


def judge(search: Search, arm: Arm, sizes: tuple[int, int, int]) -> Verdict:
    """Hold d_z, d_h and depth against their family, their projections and the search's limits."""
    d_z, d_h, depth = sizes
    fault = family_fault(arm.family, d_z, d_h) or projection_fault(arm.w_in, arm.w_out, d_z, search.shape)
    inside_family = _family_distance(arm.family, d_z, d_h)
    if fault is not None:
        distance = max(inside_family, _projection_distance(search, arm, d_z), LEAST_VIOLATION)
        return Verdict(None, None, distance, fault)
    architecture = arm.architecture(d_z, d_h, depth)
    costs = search.costs_of(architecture)
    distance = max(inside_family, _limits_distance(search, costs))
    if search.limits.excess(costs) > 0:
        return Verdict(architecture, costs, max(distance, LEAST_VIOLATION), _excess_message(search, costs))
    return Verdict(architecture, costs, min(distance, 0.0), None)


def _family_distance(family: Family, d_z: int, d_h: int) -> float:
    if family is Family.HOURGLASS:
        return log(d_h / max(d_z - 1, 0.5))
    return log((d_z + 1) / d_h)


def _projection_distance(search: Search, arm: Arm, d_z: int) -> float:
    low, high = arm.legal_d_z_range(search.shape)
    return max(log(low / d_z), log(d_z / high))


def _limits_distance(search: Search, costs: Costs) -> float:
    """How far the costs are over the tightest limit; minus infinity without limits."""
    ratios = [log(cost / limit) for _, cost, limit in _limited(search, costs) if cost > 0]
    return max(ratios, default=-float("inf"))


def _excess_message(search: Search, costs: Costs) -> str:
    over = [f"{name} {cost:,} (limit {limit:,})" for name, cost, limit in _limited(search, costs) if cost > limit]
    return f"over the limits: {', '.join(over)}"


def _limited(search: Search, costs: Costs) -> list[tuple[str, int, int]]:
    limits = ((name, search.limits.of(name)) for name in Costs.model_fields)
    return [(name, getattr(costs, name), limit) for name, limit in limits if limit is not None]
