import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import plain_pytorch, trainer
from benchmarks.arithmetic import Limit
from benchmarks.rivals import Facts
from benchmarks.trainer import PLAIN, PLAIN_EACH, Figure, Result, figure_of, sentences_of
from benchmarks.turns import Heat, Lap, Rival

SMALL = ["--dataset", "digits", "--batch-size", "16", "--shapes", "hourglass:65/8x1"]
QUICK = ["--seconds", "0.1", "--rounds", "2"]


def a_figure(name: str, epochs_per_minute: float, step_ms: float = 10.0, processes: int = 2) -> Figure:
    return Figure(name, processes, 1, step_ms, epochs_per_minute, None, None)


def a_result() -> Result:
    figures = [
        a_figure("ours fp32, one process", 5, step_ms=20, processes=1),
        a_figure("ours fp32, one per core", 9),
        a_figure(PLAIN, 3, processes=1),
        a_figure(PLAIN_EACH, 6),
    ]
    return Result("a shape", {figure.name: figure for figure in figures}, {"fp32": Limit(10**9, 15.0)})


def test_the_sentences_give_ratios_and_the_share_of_the_limit() -> None:
    assert sentences_of(a_result()).splitlines() == [
        "fp32: 3.0 times the default plain program per machine",
        "fp32: 1.5 times two of them on one thread each",
        "fp32: 15.00 ms of arithmetic (1,000 million multiply-adds at 133 GFLOP/s) / 20.00 ms a step = 75%",
    ]


def test_a_figure_is_the_median_over_turns_summed_over_processes() -> None:
    rival = Rival("r", print, [])
    rival.facts = [Facts(threads=1, evaluation_seconds=30.0)] * 2
    heats = [Heat([Lap(steps, 1.0, 1.0), Lap(steps, 1.0, 1.0)], other_cores=0.5) for steps in (1, 10, 100)]
    figure = figure_of("r", heats, rival, steps=600)
    assert figure.epochs_per_minute == pytest.approx(2)  # 20 steps a second
    assert figure.step_ms == pytest.approx(100)
    assert figure.epochs_per_minute_with_evaluation == pytest.approx(2 * 60 / (60 + 30))
    assert figure.other_cores == 0.5


@pytest.mark.usefixtures("threads_for_processes")
def test_every_rival_is_measured_in_every_column(capsys: pytest.CaptureFixture[str]) -> None:
    assert trainer.main([*SMALL, *QUICK, "--json"]) == 0
    out, err = capsys.readouterr()
    (result,) = json.loads(out)["results"]
    names = {figure["name"] for figure in result["figures"]}
    assert {"ours fp32, one process", "ours fp32, one per core", PLAIN, PLAIN_EACH} <= names
    assert all(figure["epochs_per_minute"] > 0 for figure in result["figures"])
    assert result["limits"]["fp32"]["macs"] == 16 * (2 * 64 * 65 + 3 * 2 * 65 * 8 + 3 * 65 * 64)
    assert "times the default plain program per machine" in err


@pytest.mark.usefixtures("threads_for_processes")
def test_the_quality_of_all_three_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert trainer.main([*SMALL, "--psnr", "--epochs", "1"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name} " in out for name in ("plain fp32", "ours fp32", "ours bf16"))


def test_a_wrong_shape_ends_with_the_form(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        trainer.main(["--shapes", "hourglass:8/65x1"])
    assert "FAMILY:D_Z/D_HxDEPTH" in capsys.readouterr().err


def test_the_plain_program_measures_psnr_by_batches() -> None:
    clean = torch.zeros(3, 4)
    batches = [(clean[:2] + 0.1, clean[:2]), (clean[2:] + 0.01, clean[2:])]
    assert plain_pytorch.evaluate(torch.nn.Identity(), batches) == pytest.approx((2 * 20 + 40) / 3, abs=1e-3)


@pytest.mark.slow
@pytest.mark.timeout(600)  # ten processes import torch, and a shared machine slows two threads a hundredfold
def test_the_program_runs_with_real_processes() -> None:
    program = Path(trainer.__file__)
    command = [sys.executable, str(program), *SMALL, *QUICK]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=590)
    assert done.returncode == 0, done.stderr
    assert "of them on one thread each" in done.stdout
