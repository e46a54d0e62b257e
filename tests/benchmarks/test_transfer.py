import json
from pathlib import Path

import pytest

from benchmarks import transfer
from benchmarks.transfer import LOG2_RATES, SCHEMES, psnr_db, shapes, transfer_of
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Dataset
from nas_service.domain.transfer import LrTransfer
from workers.training.datasets import load_dataset


def a_curve(best: float, top: float = 20.0) -> dict[int, float]:
    """A parabola over the grid."""
    return {rate: top - (rate - best) ** 2 for rate in LOG2_RATES}


def test_a_common_rate_loses_what_the_best_rates_are_apart() -> None:
    apart = transfer_of({"small": a_curve(-10), "middle": a_curve(-9), "large": a_curve(-8, top=22)})
    assert (apart.common, apart.spread) == (-9, pytest.approx((2 / 3) ** 0.5))
    assert apart.regrets_db == {"small": 1, "middle": 0, "large": 1}
    assert apart.from_smallest_db == {"middle": 1, "large": 4}
    assert apart.best_psnr_db == pytest.approx(62 / 3)


def test_a_rate_at_which_a_shape_diverges_is_not_common() -> None:
    diverging = a_curve(-10) | {rate: -float("inf") for rate in LOG2_RATES if rate > -10}
    assert transfer_of({"small": diverging, "large": a_curve(-6)}).common == -10


def test_what_is_kept_is_not_trained_again(tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "runs.jsonl"
    rows = [
        {"scheme": scheme, "shape": shape, "log2_lr": rate, "psnr_db": [20.0 - (rate + 9) ** 2, 20.0]}
        for scheme in SCHEMES
        for shape in shapes()
        for rate in LOG2_RATES
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[1:]))
    monkeypatch.setattr(transfer, "small_mnist", lambda _: None)
    monkeypatch.setattr(transfer, "psnr_db", lambda *_: rows[0]["psnr_db"])
    assert transfer.main([str(path)]) == 0
    assert sorted(path.read_text().splitlines()) == sorted(json.dumps(row) for row in rows)
    assert "2^-9, 0.00" in capsys.readouterr().out


def test_a_shape_is_trained_with_both_seeds() -> None:
    data = load_dataset(Dataset(name="digits"), None, fetch=False)
    recipe = Recipe(epochs=1, batch_size=256, precision="fp32")
    first, second = psnr_db(shapes()["hourglass 200/16 x1"], LrTransfer.NONE, 3e-3, data, recipe)
    assert first != second
    assert 5 < first < 40
