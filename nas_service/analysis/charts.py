"""Draws the Pareto plot of a search from the numbers that `domain.front` computes.

Every arm has three traces in one legend group: faint dominated points, strong points of its front, and the front's
staircase. What a page needs to add a point later stands in `layout.meta` (see `_meta`) and in each trace's `meta`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from typing import Any

import plotly.graph_objects as go

from nas_service.domain.front import minimised, non_dominated
from nas_service.domain.objectives import Objective
from nas_service.domain.records import StoredSearch
from nas_service.domain.search import Search
from nas_service.domain.trial import Trial, trial_points

# Okabe and Ito's colours, told apart by colour-blind people; black became grey to show on dark ground too.
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#888888", "#C9B800")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "pentagon", "x")
TITLES = {
    "parameters_trainable": "trainable parameters",
    "parameters_stored": "stored parameters",
    "parameters_in_memory": "parameters in memory",
    "macs": "multiply-adds per example",
    "bytes_stored": "stored bytes",
    "train_flops": "FLOPs of one training",
    "latency_ms": "latency of 1 example, ms",
    "latency_batch256_ms": "latency of 256 examples, ms",
    "peak_memory_bytes": "peak memory in training, bytes",
    "train_seconds": "seconds of one training",
    "psnr_db": "PSNR, dB",
    "ssim": "SSIM",
    "mse": "MSE",
    "accuracy": "accuracy",
}
NOTHING_YET = {
    "text": "No trial has completed yet.<br>Points appear here as they do.",
    "xref": "paper",
    "yref": "paper",
    "x": 0.5,
    "y": 0.5,
    "showarrow": False,
    "font": {"size": 15},
}
# The change to the layout of an empty figure that its first point brings.
FIRST_POINT = {
    "annotations": [],
    "xaxis.autorange": True,
    "yaxis.autorange": True,
    "xaxis.showticklabels": True,
    "yaxis.showticklabels": True,
}
# What a point knows beside x and y: paths into a trial, in the order of its `customdata`; the trial's id is the first.
_POINT = (
    "id",
    "number",
    "architecture.family",
    "architecture.d_z",
    "architecture.d_h",
    "architecture.depth",
    "lr",
    "origin",
)


@dataclass(frozen=True)
class Axes:
    """Which objective stands where."""

    x: Objective  # the first cost, a known one before a measured one
    y: Objective  # the first quality
    others: tuple[Objective, ...]  # a third one, told in the hover only


@dataclass(frozen=True)
class ArmPoints:
    """An arm's completed trials, sorted into what the plot shows."""

    dominated: list[Trial]
    front: list[Trial]  # of all objectives
    stairs: list[Trial]  # of x and y alone, best x first; the same as `front` with two objectives


def front_figure(search: StoredSearch, trials: Sequence[Trial]) -> go.Figure:
    """The Pareto plot: completed trials of all arms, each arm's front as a staircase of its colour."""
    spec, axes = search.spec, axes_of(search.spec)
    colours = arm_colours(spec)
    figure = go.Figure(layout=_layout(search, axes, is_empty=not trials))
    for position, arm in enumerate(spec.arms):
        points = arm_points(spec, axes, [trial for trial in trials if trial.arm == arm])
        figure.add_traces(_traces(spec, axes, arm, points, colours[arm], SYMBOLS[position % len(SYMBOLS)]))
    return figure


def arm_colours(search: Search) -> dict[str, str]:
    """A colour for each arm, by its place in the search: the same whatever has been trained."""
    return {arm: OKABE_ITO[position % len(OKABE_ITO)] for position, arm in enumerate(search.arms)}


def axes_of(search: Search) -> Axes:
    """The first cost, a known one before a measured one, against the first quality; without a cost another quality."""
    y = search.quality
    others = [row for row in search.objectives if row is not y]
    x = min(others, key=lambda row: (not row.is_known, row.is_quality))
    return Axes(x=x, y=y, others=tuple(row for row in search.objectives if row not in (x, y)))


def arm_points(search: Search, axes: Axes, trials: Sequence[Trial]) -> ArmPoints:
    """Sort an arm's completed trials into dominated ones, its front, and the corners of the staircase."""
    keep = non_dominated(trial_points(trials, search.objectives))
    front = [trial for trial, stays in zip(trials, keep, strict=True) if stays]
    values = [[_at(trial, axes.x.path), _at(trial, axes.y.path)] for trial in front]
    flat = minimised(values, (axes.x, axes.y))
    corners = [row for row, stays in enumerate(non_dominated(flat)) if stays]
    stairs = [front[row] for row in sorted(corners, key=lambda row: (*flat[row], front[row].id))]
    return ArmPoints([trial for trial, stays in zip(trials, keep, strict=True) if not stays], front, stairs)


def is_drawn_log(search: Search, objective: Objective) -> bool:
    """Whether an axis is logarithmic: where its scale says so, and for a known cost that may span over a decade."""
    if objective.scale == "log" or not objective.is_known:
        return objective.scale == "log"
    low, high = _cost_range(search, objective)
    return low > 0 and high / low > 10


def _cost_range(search: Search, objective: Objective) -> tuple[float, float]:
    """The smallest and the largest legal value of a known cost in any arm."""
    shape, arms = search.shape, search.arms.values()
    low = min(getattr(search.costs_of(arm.smallest(shape)), objective.name) for arm in arms)
    high = max(getattr(search.costs_of(arm.largest(shape)), objective.name) for arm in arms)
    return float(low), float(min(high, search.limits.of(objective.name) or high))


def _traces(search: Search, axes: Axes, arm: str, points: ArmPoints, colour: str, symbol: str) -> list[go.Scatter]:
    paths = _point_paths(axes)

    def trace(part: str, trials: Sequence[Trial], **look: Any) -> go.Scatter:
        return go.Scatter(
            name=arm,
            legendgroup=arm,
            showlegend=part == "front",
            meta={"arm": arm, "part": part},
            x=[_at(trial, axes.x.path) for trial in trials] or [None],  # without any point the legend would go
            y=[_at(trial, axes.y.path) for trial in trials] or [None],
            customdata=[[_at(trial, path) for path in paths] for trial in trials],
            **look,
        )

    hover = _hover(axes)
    faint = {"color": colour, "symbol": symbol, "size": 6, "opacity": 0.5}
    strong = {"color": colour, "symbol": symbol, "size": 10}
    line = {"color": colour, "width": 2, "shape": "hv"}
    return [
        trace("dominated", points.dominated, mode="markers", marker=faint, hovertemplate=hover),
        trace("stairs", points.stairs, mode="lines", line=line, hoverinfo="skip"),
        trace("front", points.front, mode="markers", marker=strong, hovertemplate=hover),
    ]


def _layout(search: StoredSearch, axes: Axes, is_empty: bool) -> dict[str, Any]:
    layout = {
        "template": "none",
        "meta": _meta(search, axes) | {"first_point": FIRST_POINT if is_empty else {}},
        "xaxis": _axis(search.spec, axes.x, is_empty),
        "yaxis": _axis(search.spec, axes.y, is_empty),
        "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "groupclick": "togglegroup"},
        "margin": {"l": 64, "r": 16, "t": 16, "b": 56},
        "hovermode": "closest",
        "hoverlabel": {"align": "left"},
        "uirevision": search.id,  # a reader's zoom stays when points are added
    }
    return layout | {"annotations": [NOTHING_YET]} if is_empty else layout


def _axis(search: Search, objective: Objective, is_empty: bool) -> dict[str, Any]:
    better = "lower" if objective.direction == "minimize" else "higher"
    is_log = is_drawn_log(search, objective)
    axis = {
        "title": {"text": f"{TITLES[objective.name]} ({better} is better)", "standoff": 10, "font": {"size": 13}},
        "type": "log" if is_log else "linear",
        "zeroline": False,
        "automargin": True,
    }
    if not objective.is_known:
        in_bytes = {"tickformat": "~s"} if objective.unit == "bytes" else {}
        return axis | {"showticklabels": not is_empty} | in_bytes
    ends = _cost_range(search, objective)
    fixed = {"range": [log10(max(end, 1)) for end in ends] if is_log else list(ends)}
    return axis | {"tickformat": "~s"} | (fixed if is_empty else {})


def _meta(search: StoredSearch, axes: Axes) -> dict[str, Any]:
    """What a page needs to go on from here: the events behind `last_event` are not in the figure yet."""
    return {
        "last_event": search.last_event,
        "x": axes.x.path,
        "y": axes.y.path,
        "x_direction": axes.x.direction,
        "y_direction": axes.y.direction,
        "customdata": list(_point_paths(axes)),
    }


def _point_paths(axes: Axes) -> tuple[str, ...]:
    return (*_POINT, *(objective.path for objective in axes.others))


def _hover(axes: Axes) -> str:
    others = [(row, f"customdata[{len(_POINT) + place}]") for place, row in enumerate(axes.others)]
    lines = [
        "%{fullData.name}, trial %{customdata[1]}",  # not bold: that is a style attribute, which our policy forbids
        "%{customdata[2]} %{customdata[3]}/%{customdata[4]} × %{customdata[5]}",
        "lr %{customdata[6]:.3~g}, %{customdata[7]}",
        *(_hover_line(objective, place) for objective, place in [(axes.x, "x"), (axes.y, "y"), *others]),
    ]
    return "<br>".join(lines) + "<extra></extra>"


def _hover_line(objective: Objective, place: str) -> str:
    if objective.name == "train_flops":
        return f"%{{{place}:.4~s}} {TITLES[objective.name]}"
    if objective.is_known or objective.unit == "bytes":
        return f"%{{{place}:,d}} {TITLES[objective.name]}"
    if objective.unit == "dB":
        return f"%{{{place}:.2f}} dB"
    return f"{TITLES[objective.name]} %{{{place}:.4g}}"


def _at(trial: Trial, path: str) -> Any:
    value: Any = trial
    for part in path.split("."):
        value = value[part] if isinstance(value, dict) else getattr(value, part)
    return value
