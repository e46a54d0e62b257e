"""A trial interrupted after any epoch and resumed from bytes ends with the bits of the uninterrupted one."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from nas_service.domain.architecture import Architecture
from nas_service.domain.search import Recipe
from nas_service.domain.tasks import Denoising
from nas_service.domain.transfer import LrTransfer
from workers.training import train as train_module
from workers.training.checkpoint import CheckpointError
from workers.training.datasets import LoadedDataset
from workers.training.run_trial import TrialOutcome, run_trial
from workers.training.train import Diverged

CPU = torch.device("cpu")
Run = Callable[..., TrialOutcome]


@pytest.fixture
def run(
    digits: LoadedDataset,
    denoising: Denoising,
    an_architecture: Callable[..., Architecture],
    a_recipe: Callable[..., Recipe],
) -> Run:
    def run(lr: float | tuple[float, ...] = 3e-3, base_seed: int = 42, **changes: Any) -> TrialOutcome:
        options = ("on_epoch", "on_checkpoint", "resume_from", "lr_transfer")
        hooks = {name: changes.pop(name) for name in options if name in changes}
        recipe = {name: changes.pop(name) for name in list(changes) if name in Recipe.model_fields}
        recipe = {"precision": "fp32", **recipe}
        architecture = an_architecture(**changes)
        return run_trial(architecture, denoising, a_recipe(**recipe), lr, digits, CPU, base_seed=base_seed, **hooks)

    return run


def checkpoints_of(run: Run, **changes: Any) -> tuple[TrialOutcome, list[bytes]]:
    """The uninterrupted trial, and what it would have left after each of its epochs."""
    made: list[bytes] = []
    outcome = run(**changes, on_checkpoint=lambda checkpoint: made.append(checkpoint.to_bytes()))
    return outcome, made


def assert_same_to_the_bit(one: TrialOutcome, other: TrialOutcome) -> None:
    assert one.metrics == other.metrics
    assert one.trivial == other.trivial
    assert one.replicates == other.replicates
    assert (one.lr, one.epochs, one.projection_hash) == (other.lr, other.epochs, other.projection_hash)
    weights, others = one.network.state_dict(), other.network.state_dict()
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_trial_ends_as_the_uninterrupted_one_wherever_it_was_interrupted(run: Run, precision: str) -> None:
    trial = {"lr": (1e-3, 5e-3, 3e-3), "replicates": 2, "epochs": 2, "batch_size": 100, "precision": precision}
    whole, made = checkpoints_of(run, **trial, schedule="linear_per_step")
    assert len(made) == 6
    assert whole.lr == 5e-3
    for epochs, content in enumerate(made, start=1):
        resumed = run(**trial, schedule="linear_per_step", resume_from=content)
        assert_same_to_the_bit(resumed, whole)
        assert resumed.environment["resumed_from_epoch"] == epochs
        assert whole.environment | {"resumed_from_epoch": epochs} == resumed.environment


@pytest.mark.parametrize(
    "architecture",
    [
        {"w_in": "learned", "w_out": "tied"},
        {"w_in": "identity_init", "norm": "none"},
        {"w_in": "fixed_gaussian", "norm": "layer"},
        {"w_in": "fixed_identity_padded", "w_out": "tied"},
        {"w_in": "identity", "norm": "rms"},
        {"family": "conventional", "w_in": "none", "w_out": "none", "d_z": 64, "d_h": 70},
        {"branch_scale": "1/sqrt(depth)", "lr_transfer": LrTransfer.WIDTH_DEPTH},
    ],
)
def test_every_kind_of_network_is_resumed_to_the_bit(run: Run, architecture: dict[str, Any]) -> None:
    whole, made = checkpoints_of(run, **architecture, epochs=3)
    assert_same_to_the_bit(run(**architecture, epochs=3, resume_from=made[1]), whole)


def test_a_fixed_projection_is_drawn_again_and_is_not_in_the_file(run: Run) -> None:
    _, learned = checkpoints_of(run, w_in="learned", epochs=1)
    _, fixed = checkpoints_of(run, w_in="fixed_uniform", epochs=1)
    assert len(learned[0]) - len(fixed[0]) >= 3 * 4 * 80 * 64  # the weight and its two moments


def test_only_the_epochs_that_are_left_are_trained_and_reported(run: Run) -> None:
    _, made = checkpoints_of(run, lr=(1e-3, 3e-3), epochs=3)
    seen: list[tuple[int, int]] = []
    run(lr=(1e-3, 3e-3), epochs=3, resume_from=made[3], on_epoch=lambda number, epoch, _: seen.append((number, epoch)))
    assert seen == [(1, 1), (1, 2)]


def test_the_time_trained_before_the_interruption_counts(run: Run) -> None:
    whole, made = checkpoints_of(run, epochs=3)
    resumed = run(epochs=3, resume_from=made[2])
    assert resumed.seconds > 0.3 * whole.seconds


def test_replicates_and_learning_rates_that_diverged_stay_so(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    built = train_module.Network

    def with_a_broken_second(*arguments: object) -> torch.nn.Module:
        network = built(*arguments)
        if len(network.seeds) > 1:
            network.w_out.data[1] = float("nan")
        return network

    trial = {"lr": (1e-3, 3e-3), "replicates": 2, "norm": "none"}
    made: list[bytes] = []
    monkeypatch.setattr(train_module, "Network", with_a_broken_second)
    with pytest.raises(Diverged, match="diverged at epoch 0"):
        run(**trial, on_checkpoint=lambda checkpoint: made.append(checkpoint.to_bytes()))
    monkeypatch.setattr(train_module, "Network", built)
    resumed = run(**trial, resume_from=made[0])  # the second replicate had diverged at the first learning rate
    assert [row["diverged_at_epoch"] for row in resumed.replicates] == [None, 0, None, None]
    assert resumed.lr == 3e-3


@pytest.mark.parametrize(
    "break_it",
    [
        lambda content: b"",
        lambda content: b"no safetensors at all" * 100,
        lambda content: content[:-10],
        lambda content: content.replace(b"hourglass-checkpoint-2", b"hourglass-checkpoint-0"),
        lambda content: content.replace(b"optimizer/exp_avg_sq", b"optimizer/exp_avg_xx"),
        lambda content: content.replace(b"network/blocks.0.w1", b"network/blocks.0.x1"),
        lambda content: content.replace(rb"\"epochs\":1", rb"\"epochs\":x"),
    ],
)
def test_broken_bytes_are_refused_before_anything_is_trained(run: Run, break_it: Callable[[bytes], bytes]) -> None:
    _, (content, _) = checkpoints_of(run)
    broken = break_it(content)
    assert broken != content
    with pytest.raises(CheckpointError):
        run(resume_from=broken, on_epoch=lambda *_: pytest.fail("it trained"))


@pytest.mark.parametrize("other", [{"base_seed": 43}, {"lr": 1e-3}, {"epochs": 3}, {"d_h": 16}, {"replicates": 2}])
def test_a_checkpoint_of_another_trial_is_refused(run: Run, other: dict[str, Any]) -> None:
    _, made = checkpoints_of(run)
    with pytest.raises(CheckpointError, match="another network, recipe, seed or dataset"):
        run(resume_from=made[0], **other)


def test_a_checkpoint_of_another_rule_is_refused(run: Run) -> None:
    _, made = checkpoints_of(run, branch_scale="1/sqrt(depth)")
    with pytest.raises(CheckpointError, match="another network, recipe, seed or dataset"):
        run(branch_scale="1/sqrt(depth)", lr_transfer=LrTransfer.WIDTH_DEPTH, resume_from=made[0])
