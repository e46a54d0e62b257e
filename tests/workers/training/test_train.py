from collections.abc import Callable
from typing import Any

import pytest
import torch

from nas_service.domain.architecture import Architecture
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Denoising, GenerativeClassification, SuperResolution, Task
from nas_service.domain.transfer import BASE_D_H, BASE_D_Z, BASE_DEPTH, LrTransfer
from workers.training import train as train_module
from workers.training.datasets import LoadedDataset, Split
from workers.training.projection import draw_projection, projection_hash
from workers.training.train import (
    Diverged,
    Stopped,
    Training,
    epoch_batches,
    has_diverged,
    lr_factor,
    steps_per_epoch,
    train,
    train_replicates,
)

CPU = torch.device("cpu")
Train = Callable[..., Training]


@pytest.fixture
def train_digits(
    digits: LoadedDataset,
    denoising: Denoising,
    an_architecture: Callable[..., Architecture],
    a_recipe: Callable[..., Recipe],
) -> Train:
    def run(
        task: Task = denoising, lr: float = 3e-3, seed: int = 42, data: LoadedDataset = digits, **changes: Any
    ) -> Training:
        hooks = {name: changes.pop(name) for name in ("on_epoch", "should_stop", "lr_transfer") if name in changes}
        recipe = {name: changes.pop(name) for name in list(changes) if name in Recipe.model_fields}
        return train(an_architecture(**changes), task, a_recipe(**recipe), lr, seed, data, CPU, **hooks)

    return run


def test_training_beats_the_trivial_answer_at_denoising(train_digits: Train) -> None:
    training = train_digits(epochs=20)
    assert training.metrics["eval"]["psnr_db"] > training.trivial["psnr_db"] + 1.5
    assert training.metrics["test"]["psnr_db"] == pytest.approx(training.metrics["eval"]["psnr_db"], abs=0.5)


def test_training_learns_to_name_the_digit(train_digits: Train) -> None:
    training = train_digits(GenerativeClassification(kind="generative_classification"), epochs=8)
    assert training.metrics["eval"]["accuracy"] > 0.85
    assert training.trivial["accuracy"] < 0.2


def test_training_beats_bicubic_enlargement(train_digits: Train) -> None:
    training = train_digits(SuperResolution(kind="super_resolution"), epochs=15)
    assert training.metrics["eval"]["psnr_db"] > training.trivial["psnr_db"] + 1


@pytest.mark.usefixtures("global_randomness_untouched")
def test_the_same_seed_gives_the_same_network_to_the_bit(train_digits: Train) -> None:
    first, again, other = (train_digits(seed=seed) for seed in (42, 42, 43))
    assert first.metrics == again.metrics != other.metrics
    weights, same = first.network.state_dict(), again.network.state_dict()
    assert all(torch.equal(weights[name], same[name]) for name in weights)


def test_training_leaves_a_fixed_projection_as_it_was_drawn(train_digits: Train) -> None:
    training = train_digits(w_in="fixed_orthogonal")
    fixed = training.network.fixed_projections()
    assert fixed is not None
    drawn = draw_projection(training.network.architecture.w_in, 64, 80, 42)
    assert fixed.numpy().tobytes() == drawn.tobytes()
    assert training.projection_hash == projection_hash(drawn)


def test_each_epoch_is_reported(train_digits: Train) -> None:
    reports: list[tuple[int, dict[str, float]]] = []
    training = train_digits(epochs=3, on_epoch=lambda epoch, metrics: reports.append((epoch, metrics)))
    assert [epoch for epoch, _ in reports] == [0, 1, 2]
    assert reports[-1][1]["psnr_db"] == training.metrics["eval"]["psnr_db"]
    assert reports[0][1]["train_mse"] > reports[2][1]["train_mse"]
    assert [metrics["lr"] for _, metrics in reports] == pytest.approx([3e-3, 2e-3, 1e-3])


def test_a_learning_rate_far_too_high_diverges(train_digits: Train) -> None:
    with pytest.raises(Diverged, match=r"^diverged at epoch \d$"):
        train_digits(lr=1e4, epochs=10, norm="none")


@pytest.mark.parametrize(
    ("train_mse", "best_mse", "diverged"),
    [(float("nan"), 0.1, True), (float("inf"), 0.1, True), (0.3, 0.1, True), (0.3, 0.35, False), (0.2, 0.1, False)],
)
def test_diverged_is_worse_than_grey_and_than_before(train_mse: float, best_mse: float, diverged: bool) -> None:
    assert has_diverged(train_mse, best_mse, 0.1) is diverged


def test_training_stops_within_a_few_steps_of_being_told(train_digits: Train) -> None:
    asked = []

    def stop_at_the_third_time() -> bool:
        asked.append(None)
        return len(asked) == 3

    with pytest.raises(Stopped, match="stopped in epoch 1"):
        train_digits(epochs=5, batch_size=64, should_stop=stop_at_the_third_time)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_environment_says_which_precision_ran(train_digits: Train, precision: str) -> None:
    training = train_digits(precision=precision)
    assert training.environment["precision"] == precision
    assert training.environment["device"] == "cpu"
    assert training.environment["torch"] == torch.__version__


def test_the_transfer_rule_trains_differently_and_is_named(train_digits: Train) -> None:
    plain, ruled = (train_digits(branch_scale="1/sqrt(depth)", lr_transfer=rule) for rule in LrTransfer)
    assert [one.environment["lr_transfer"] for one in (plain, ruled)] == ["none", "width_depth"]
    assert plain.metrics != ruled.metrics


def test_at_the_base_shape_the_transfer_rule_changes_nothing(train_digits: Train) -> None:
    base = {"d_z": BASE_D_Z, "d_h": BASE_D_H, "depth": BASE_DEPTH, "branch_scale": "1/sqrt(depth)", "epochs": 1}
    plain, ruled = (train_digits(**base, precision="fp32", lr_transfer=rule) for rule in LrTransfer)
    assert ruled.metrics["eval"] == pytest.approx(plain.metrics["eval"], abs=2e-3)


def test_the_transfer_rule_needs_its_branch_scale(train_digits: Train) -> None:
    with pytest.raises(ValueError, match=r"needs branch_scale 1/sqrt\(depth\) \(got 1\)"):
        train_digits(lr_transfer=LrTransfer.WIDTH_DEPTH)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("linear", [1, 1, 0.5, 0.5]),
        ("linear_per_step", [1, 0.75, 0.5, 0.25]),
        ("constant", [1, 1, 1, 1]),
    ],
)
def test_the_learning_rate_falls_as_the_schedule_says(schedule: str, expected: list[float]) -> None:
    recipe = Recipe.model_validate({"epochs": 2, "schedule": schedule})
    assert [lr_factor(recipe, epoch, step, 2) for epoch in (0, 1) for step in (0, 1)] == expected


def test_an_epoch_visits_every_image_as_often_as_augmentation_says() -> None:
    recipe = Recipe(epochs=1, batch_size=64, augment=4)
    batches = list(epoch_batches(100, recipe, [1], 0, CPU))
    assert sorted(torch.cat(batches, dim=1)[0].tolist()) == list(range(400))
    assert len(batches) == steps_per_epoch(100, recipe) == 7


def test_the_order_differs_by_epoch_and_seed_only() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat(list(epoch_batches(50, Recipe(batch_size=8), [seed], epoch, CPU)), dim=1)[0].tolist()

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed in (1, 2) for epoch in (0, 1)}) == 4


def test_a_last_batch_of_one_image_is_left_out() -> None:
    recipe = Recipe(batch_size=32)
    for images, sizes in ((65, [32, 32]), (66, [32, 32, 2]), (64, [32, 32])):
        batches = list(epoch_batches(images, recipe, [1], 0, CPU))
        assert [batch.shape[1] for batch in batches] == sizes
        assert steps_per_epoch(images, recipe) == len(sizes)


def test_a_split_with_one_image_too_many_still_trains(train_digits: Train, digits: LoadedDataset) -> None:
    few = Split(digits.train.images[:129], digits.train.labels[:129])
    data = LoadedDataset(digits.dataset, few, digits.eval, digits.test, 10, 16, digits.digest)
    assert train_digits(data=data, epochs=1).epochs == 1


def test_replicates_trained_together_end_as_if_each_had_been_trained_alone(
    train_digits: Train, digits, denoising
) -> None:
    recipe = Recipe(epochs=3, batch_size=64, precision="fp32")
    architecture = train_digits(epochs=1).network.architecture
    seen: list[tuple[int, int]] = []
    together = train_replicates(
        architecture, denoising, recipe, 3e-3, (42, 43, 44), digits, CPU, lambda r, epoch, _: seen.append((r, epoch))
    )
    alone = [train(architecture, denoising, recipe, 3e-3, seed, digits, CPU) for seed in (42, 43, 44)]
    for one, other in zip(together, alone, strict=True):
        assert isinstance(one, Training)
        for split in ("eval", "test"):
            assert one.metrics[split] == pytest.approx(other.metrics[split], abs=2e-3)
        for name, weight in one.network.state_dict().items():
            assert torch.allclose(weight, other.network.state_dict()[name], atol=1e-3), name
    assert sorted(seen) == [(replicate, epoch) for replicate in range(3) for epoch in range(3)]
    assert len({one.metrics["eval"]["psnr_db"] for one in together}) == 3


def test_a_replicate_that_diverges_does_not_touch_the_others(
    train_digits: Train, digits, denoising, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe(epochs=2, batch_size=64, precision="fp32")
    architecture = train_digits(epochs=1).network.architecture
    built = train_module.Network

    def with_a_broken_second(*arguments: object) -> torch.nn.Module:
        network = built(*arguments)
        if len(network.seeds) > 1:
            network.w_out.data[1] = float("nan")
        return network

    monkeypatch.setattr(train_module, "Network", with_a_broken_second)
    first, second = train_replicates(architecture, denoising, recipe, 3e-3, (42, 43), digits, CPU)
    alone = train(architecture, denoising, recipe, 3e-3, 42, digits, CPU)
    assert isinstance(second, Diverged)
    assert first.metrics["eval"] == pytest.approx(alone.metrics["eval"], abs=2e-3)
