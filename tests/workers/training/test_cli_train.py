import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import typer
from click.testing import Result
from typer.testing import CliRunner

from nas_service.cli.train import train
from workers.training.network_file import load_network

SMALL = "--d-z 80 --d-h 16 --depth 1 --epochs 1"
Cli = Callable[[str], Result]


@pytest.fixture
def hourglass(monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.delenv("HOURGLASS_DATA_DIR", raising=False)
    app = typer.Typer()
    app.command()(train)
    app.callback()(lambda: None)
    return lambda line: CliRunner().invoke(app, ["train", *line.split()], env={"COLUMNS": "200"})


def test_the_last_line_is_the_result_as_json(hourglass: Cli) -> None:
    result = hourglass(f"{SMALL} --lr 3e-3 --seed 1 --json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout.splitlines()[-1])
    assert answer["architecture"]["d_z"] == 80
    assert answer["costs"]["parameters_trainable"] == 2 * 64 * 80 + 2 * 80 * 16
    assert {"psnr_db", "mse", "ssim"} == set(answer["metrics"]["eval"]) == set(answer["metrics"]["test"])
    assert (answer["seed"], answer["lr"]) == (43, 3e-3)
    assert answer["seconds"] > 0


def test_the_transfer_rule_is_in_the_result_beside_the_rate_that_was_given(hourglass: Cli) -> None:
    answer = json.loads(hourglass(f"{SMALL} --branch-scale 1/sqrt(depth) --lr-transfer width_depth --json").stdout)
    assert (answer["lr"], answer["environment"]["lr_transfer"]) == (1e-3, "width_depth")


def test_people_get_a_table_on_stderr_and_nothing_on_stdout(hourglass: Cli) -> None:
    result = hourglass(SMALL)
    assert result.stdout == ""
    assert "psnr_db" in result.stderr


def test_the_network_is_saved_where_asked(hourglass: Cli, tmp_path: Path) -> None:
    path = tmp_path / "network.safetensors"
    result = hourglass(f"{SMALL} --w-in fixed_orthogonal --output {path}")
    assert result.exit_code == 0, result.output
    assert load_network(path.read_bytes()).architecture.w_in == "fixed_orthogonal"


def test_a_users_own_images_need_no_shape(hourglass: Cli, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", images=np.random.RandomState(0).randint(0, 256, (40, 6, 6)).astype(np.uint8))
    result = hourglass(
        f"{SMALL} --dataset npz:mine.npz --datasets {tmp_path} --task super_resolution --factor 3 --json"
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["dataset"]["image_shape"] == [1, 6, 6]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--d-z 80 --d-h 90 --depth 1", "d_h must be below d_z in an hourglass (got d_h=90, d_z=80)"),
        (f"{SMALL} --w-in none", "w_in none needs d_z equal to d_x"),
        (f"{SMALL} --dataset cats", "no dataset is called 'cats'"),
        (f"{SMALL} --dataset folder:cats", "pass --datasets or set HOURGLASS_DATA_DIR"),
        (f"{SMALL} --schedule cosine", "schedule: Input should be 'linear'"),
        (f"{SMALL} --task super_resolution --factor 3", "factor must divide height and width"),
        (f"{SMALL} --task super_resolution --noise-std 1", "noise_std"),
        (f"{SMALL} --lr 0", "--lr must be above 0"),
        (f"{SMALL} --lr-transfer width_depth", "width_depth needs branch_scale 1/sqrt(depth) (got 1)"),
        (f"{SMALL} --device abacus", "there is no device 'abacus'"),
        (f"{SMALL} --output /nowhere/at/all", "--output /nowhere/at/all cannot be written"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_2(hourglass: Cli, line: str, message: str) -> None:
    result = hourglass(line)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_diverged_run_is_one_sentence_and_exit_1(hourglass: Cli) -> None:
    result = hourglass(f"{SMALL} --lr 1e4 --norm none")
    assert result.exit_code == 1
    assert "error: diverged at epoch 0" in result.stderr


def test_the_command_is_described_without_loading_torch(hourglass: Cli) -> None:
    result = hourglass("--help")
    assert "hourglass train --dataset mnist" in result.stdout
