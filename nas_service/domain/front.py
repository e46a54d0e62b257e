"""Non-domination and hypervolume, the same everywhere: on points to be minimised.

`minimised` turns objectives into such points: maximised ones change their sign, log ones become log10. Definitions:
Zitzler and Thiele, 1998. With 2 or 3 objectives both take O(n log n) steps (Kung, Luccio and Preparata, 1975; Fonseca,
Paquete and Lopez-Ibanez, 2006); with more, non-domination takes O(n k) for a front of k points.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nas_service.domain.objectives import Objective

Points = NDArray[np.float64]  # (n, m): n points, m objectives, each to be minimised


def minimised(values: Sequence[Sequence[float]], objectives: Sequence[Objective]) -> Points:
    """Turn objective values (n, m) into points to be minimised (n, m), log10 where the scale is log.

    Raises:
        ValueError: when a value on a log scale is not above 0.
    """
    points = np.asarray(values, dtype=np.float64).reshape(-1, len(objectives)).copy()
    for column, objective in enumerate(objectives):
        if objective.scale == "log":
            if np.any(points[:, column] <= 0):
                raise ValueError(f"{objective.name} must be above 0 on a log scale (got {points[:, column].min()})")
            points[:, column] = np.log10(points[:, column])
        if objective.direction == "maximize":
            points[:, column] = -points[:, column]
    return points


def dominates(a: Points, b: Points) -> bool:
    """Whether point `a` (m,) is nowhere worse than `b` (m,) and somewhere better."""
    return bool(np.all(a <= b) and np.any(a < b))


def non_dominated(points: Points) -> NDArray[np.bool_]:
    """Mark the points (n, m) that no other point dominates; equal points keep one another. Returns (n,)."""
    unique, inverse = np.unique(points, axis=0, return_inverse=True)  # sorted by the first objective, then the next
    of_sorted = {2: _front_of_sorted_pairs, 3: _front_of_sorted_triples}.get(points.shape[1], _front_of_sorted)
    keep = of_sorted(unique)
    result: NDArray[np.bool_] = keep[inverse.reshape(-1)]
    return result


def hypervolume(points: Points, reference: Points) -> float:
    """The volume that the points (n, m) dominate up to `reference` (m,); points beyond the reference add nothing."""
    inside = points[np.all(points < reference, axis=1)]
    if len(inside) == 0:
        return 0.0
    front = np.unique(inside[non_dominated(inside)], axis=0)
    return _volume_of_sorted_front(front, reference)


def _front_of_sorted_pairs(points: Points) -> NDArray[np.bool_]:
    if len(points) == 0:
        return np.zeros(0, dtype=np.bool_)
    best_before = np.concatenate(([np.inf], np.minimum.accumulate(points[:, 1])[:-1]))
    return np.asarray(points[:, 1] < best_before)


def _front_of_sorted_triples(points: Points) -> NDArray[np.bool_]:
    """Each point against the staircase that the earlier ones make of the other two objectives."""
    keep = np.zeros(len(points), dtype=np.bool_)
    second, third = list[float](), list[float]()  # corners of the staircase: one rises, the other falls
    for row, (_, y, z) in enumerate(points.tolist()):
        left = bisect_right(second, y)
        if left and third[left - 1] <= z:
            continue
        keep[row] = True
        first = end = bisect_left(second, y)
        while end < len(second) and third[end] >= z:
            end += 1
        second[first:end], third[first:end] = [y], [z]
    return keep


def _front_of_sorted(points: Points) -> NDArray[np.bool_]:
    keep = np.zeros(len(points), dtype=np.bool_)
    front = np.empty((0, points.shape[1]))
    for row, point in enumerate(points):  # sorted, so a later point never dominates an earlier one
        if not np.any(np.all(front <= point, axis=1)):
            keep[row] = True
            front = np.vstack((front, point))
    return keep


def _volume_of_sorted_front(front: Points, reference: Points) -> float:
    """Sum of slabs along the last objective, each a volume of one objective less."""
    if front.shape[1] == 1:
        return float(reference[0] - front[:, 0].min())
    if front.shape[1] == 2:
        heights = np.concatenate(([reference[1]], front[:-1, 1])) - front[:, 1]
        return float(np.sum((reference[0] - front[:, 0]) * heights))
    order = np.argsort(front[:, -1], kind="stable")
    if front.shape[1] == 3:
        return _volume_of_rising_triples(front[order], reference)
    levels = np.append(front[order, -1], reference[-1])
    volume = 0.0
    for rank in range(len(order)):
        thickness = levels[rank + 1] - levels[rank]
        if thickness > 0:
            volume += thickness * hypervolume(front[order[: rank + 1], :-1], reference[:-1])
    return volume


def _volume_of_rising_triples(front: Points, reference: Points) -> float:
    """Each point adds an area to what the lower ones dominate of the first two objectives, from its level on."""
    right, top, upper = reference.tolist()
    first, second = list[float](), list[float]()  # corners of the staircase: one rises, the other falls
    volume = 0.0
    for x, y, level in front.tolist():
        start = end = bisect_left(first, x)
        at, height, area = x, second[start - 1] if start else top, 0.0
        while end < len(first) and second[end] >= y:
            area += (first[end] - at) * (height - y)
            at, height = first[end], second[end]
            end += 1
        area += ((first[end] if end < len(first) else right) - at) * (height - y)
        volume += area * (upper - level)
        first[start:end], second[start:end] = [x], [y]
    return volume
