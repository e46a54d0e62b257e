"""The Pareto plot's numbers: which points stand on the staircase, and what a page can build on."""

import json
from typing import Any

import pytest

from nas_service.analysis.charts import arm_colours, front_figure
from tests.builders import ARMS, a_stored_search, a_trial


def traces_of(figure: Any) -> dict[tuple[str, str], Any]:
    return {(trace.meta["arm"], trace.meta["part"]): trace for trace in figure.data}


def ids(trace: Any) -> list[int]:
    return [row[0] for row in trace.customdata or ()]


def test_the_front_line_runs_through_the_undominated_trials_cheapest_first() -> None:
    trials = [
        a_trial(1, cost=3000, psnr_db=22.0),
        a_trial(2, cost=1000, psnr_db=20.0),
        a_trial(3, cost=2000, psnr_db=19.0),  # costs more than 2 and is worse
        a_trial(4, cost=4000, psnr_db=23.0),
    ]
    traces = traces_of(front_figure(a_stored_search(), trials))
    assert ids(traces["hourglass", "stairs"]) == [2, 1, 4]
    assert traces["hourglass", "stairs"].line.shape == "hv"
    assert list(traces["hourglass", "stairs"].x) == [1000, 3000, 4000]
    assert list(traces["hourglass", "stairs"].y) == [20.0, 22.0, 23.0]
    assert ids(traces["hourglass", "front"]) == [1, 2, 4]
    assert ids(traces["hourglass", "dominated"]) == [3]


def test_one_arm_does_not_dominate_another() -> None:
    trials = [a_trial(1, psnr_db=25.0), a_trial(2, psnr_db=15.0, arm="plain")]
    traces = traces_of(front_figure(a_stored_search(arms=ARMS), trials))
    assert ids(traces["hourglass", "front"]) == [1]
    assert ids(traces["plain", "front"]) == [2]


@pytest.mark.parametrize("objectives", [["macs", "mse"], ["mse", "macs"]])
def test_the_cost_stands_on_x_and_a_minimised_quality_goes_down(objectives: list[str]) -> None:
    search = a_stored_search(objectives=[{"name": name} for name in objectives])
    rows = [(1, 1000, 0.03), (2, 2000, 0.01), (3, 3000, 0.02)]
    trials = [a_trial(id_, cost, metrics={"eval": {"mse": mse}}) for id_, cost, mse in rows]
    figure = front_figure(search, trials)
    assert figure.layout.meta["x"] == "costs.macs"
    assert figure.layout.meta["y"] == "metrics.eval.mse"
    assert ids(traces_of(figure)["hourglass", "stairs"]) == [1, 2]


@pytest.mark.parametrize(
    ("names", "x", "title"),
    [
        (["latency_ms", "psnr_db"], "metrics.measured.latency_ms", "latency of 1 example, ms"),
        (["psnr_db", "peak_memory_bytes"], "metrics.measured.peak_memory_bytes", "peak memory in training, bytes"),
        (["train_flops", "psnr_db"], "costs.train_flops", "FLOPs of one training"),
        (["train_seconds", "train_flops", "psnr_db"], "costs.train_flops", "FLOPs of one training"),
        (["psnr_db", "ssim", "train_seconds"], "metrics.measured.train_seconds", "seconds of one training"),
    ],
)
def test_a_measured_cost_stands_on_x_unless_a_known_one_does(names: list[str], x: str, title: str) -> None:
    search = a_stored_search(objectives=[{"name": name, "reference": 100} for name in names], device="cpu")
    measured = {"latency_ms": 1.5, "peak_memory_bytes": 2e6, "train_seconds": 3.0}
    trials = [a_trial(metrics={"eval": {"psnr_db": 20.0, "ssim": 0.5}, "measured": measured})]
    for shown in ([], trials):
        figure = front_figure(search, shown)
        assert (figure.layout.meta["x"], figure.layout.meta["y"]) == (x, "metrics.eval.psnr_db")
        assert figure.layout.xaxis.title.text == f"{title} (lower is better)"
    expected = {"costs.train_flops": 1000} | {f"metrics.measured.{name}": value for name, value in measured.items()}
    assert list(traces_of(figure)["hourglass", "front"].x) == [expected[x]]


def test_with_three_objectives_the_staircase_leaves_out_what_only_the_third_one_keeps() -> None:
    search = a_stored_search(objectives=[{"name": "macs"}, {"name": "psnr_db"}, {"name": "ssim"}])
    rows = [(1, 1000, 20.0, 0.5), (2, 2000, 19.0, 0.9)]
    trials = [a_trial(id_, cost, metrics={"eval": {"psnr_db": psnr, "ssim": ssim}}) for id_, cost, psnr, ssim in rows]
    traces = traces_of(front_figure(search, trials))
    assert ids(traces["hourglass", "front"]) == [1, 2]
    assert ids(traces["hourglass", "stairs"]) == [1]
    assert traces["hourglass", "front"].customdata[1][-1] == 0.9
    assert "SSIM" in traces["hourglass", "front"].hovertemplate


def test_an_arm_keeps_its_colour_whatever_has_been_trained() -> None:
    search = a_stored_search(arms=ARMS)
    for trials in ([], [a_trial(1, arm="plain")]):
        figure = front_figure(search, trials)
        colours = {trace.meta["arm"]: trace.marker.color for trace in figure.data if trace.meta["part"] == "front"}
        assert colours == arm_colours(search.spec)
    assert len(set(arm_colours(search.spec).values())) == len(ARMS)


def test_one_legend_entry_toggles_all_of_an_arm() -> None:
    figure = front_figure(a_stored_search(arms=ARMS), [])
    for arm in ARMS:
        mine = [trace for trace in figure.data if trace.legendgroup == arm]
        assert [trace.showlegend for trace in mine].count(True) == 1
        assert len(mine) == 3
    assert figure.layout.legend.groupclick == "togglegroup"


def test_a_search_without_trials_has_axes_and_a_note() -> None:
    figure = front_figure(a_stored_search(), [])
    assert "No trial has completed yet" in figure.layout.annotations[0].text
    assert figure.layout.xaxis.title.text == "trainable parameters (lower is better)"
    assert figure.layout.yaxis.title.text == "PSNR, dB (higher is better)"
    assert figure.layout.meta["first_point"]["annotations"] == []


def test_a_known_cost_over_more_than_a_decade_is_drawn_on_a_log_axis() -> None:
    linear = [{"name": "macs"}, {"name": "psnr_db"}]
    wide = {"hourglass": ARMS["hourglass"] | {"d_z": [65, 1000]}}
    assert front_figure(a_stored_search(objectives=linear), []).layout.xaxis.type == "linear"
    assert front_figure(a_stored_search(objectives=linear, arms=wide), []).layout.xaxis.type == "log"


def test_a_page_can_go_on_from_the_figure() -> None:
    trial = a_trial(5)
    sent = json.loads(front_figure(a_stored_search(), [trial]).to_json())
    meta, traces = sent["layout"]["meta"], {trace["meta"]["part"]: trace for trace in sent["data"]}
    assert meta["last_event"] == a_stored_search().last_event
    places = [(meta["x"], "x"), (meta["y"], "y")]
    told = [(path, traces["front"][place][0]) for path, place in places]
    told += list(zip(meta["customdata"], traces["front"]["customdata"][0], strict=True))
    for path, value in told:
        found: Any = trial.model_dump(mode="json")
        for part in path.split("."):
            found = found[part]
        assert found == value
