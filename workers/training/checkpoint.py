"""A trial between two epochs as bytes and back: safetensors, the facts as text in the header, no pickle.

Checkpoints are made at the ends of epochs only: the order of images, the noise and the learning rate follow from (seed,
epoch), a fixed W_in from the seed, so none of them is in the file. Leaves out when one is made and where it goes.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from nas_service.domain.values import Value
from workers.training.network import Network
from workers.training.precision import TrainedWeights

FORMAT = "hourglass-checkpoint-2"

Means = dict[str, dict[str, float]]  # {"eval": {"psnr_db": ...}, "test": {...}}


class CheckpointError(ValueError):
    """The bytes are no checkpoint of this trial; the message says what is wrong with them."""


@dataclass(frozen=True)
class TrainingState:
    """All that the next epoch of a training depends on. Its tensors are copies on the CPU."""

    epochs: int  # finished
    network: Mapping[str, Tensor]  # weights and normalisation statistics of all replicates, by name
    optimizer: Mapping[str, Tensor]  # AdamW's: "step", "exp_avg" and "exp_avg_sq" of all weights one after the other
    least_mse: tuple[float, ...]  # the least training loss of each replicate; inf before its first epoch
    diverged: Mapping[int, int]  # replicate: the epoch, from 0, at which it diverged
    seconds: float  # trained so far


class RateResult(Value):
    """What is left of a learning rate when its replicates have ended, besides a network."""

    lr: float
    replicates: tuple[dict[str, Any], ...]  # as in `TrialOutcome.replicates`
    trivial: dict[str, float] | None  # None when all diverged
    seconds: float
    epochs: int  # of the replicates that did not diverge

    @property
    def means(self) -> Means | None:
        """The mean of every metric over the replicates; None when one of them diverged."""
        every = [row["metrics"] for row in self.replicates]
        if None in every:
            return None
        return {
            split: {name: fmean(metrics[split][name] for metrics in every) for name in values}
            for split, values in every[0].items()
        }


@dataclass(frozen=True)
class Checkpoint:
    """A trial in the middle: learning rates that are done, and the one that trains."""

    trial: str  # `trial_key` of what trains
    finished: tuple[RateResult, ...]
    best_network: bytes | None  # replicate 0 of the best finished learning rate, as a network file
    training: TrainingState

    def to_bytes(self) -> bytes:
        """Write it as safetensors; the header's metadata are `format` and `facts` (JSON)."""
        state = self.training
        facts = _Facts(
            trial=self.trial,
            finished=self.finished,
            epochs=state.epochs,
            diverged=dict(state.diverged),
            seconds=state.seconds,
        )
        tensors = {f"network/{name}": tensor for name, tensor in state.network.items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in state.optimizer.items()}
        tensors["least_mse"] = torch.tensor(state.least_mse, dtype=torch.float64)  # may be inf, which JSON cannot carry
        if self.best_network is not None:
            tensors["best_network"] = torch.frombuffer(bytearray(self.best_network), dtype=torch.uint8)
        return save_tensors(tensors, metadata={"format": FORMAT, "facts": facts.model_dump_json()})


class _Facts(Value):
    """What of a checkpoint is no tensor."""

    trial: str
    finished: tuple[RateResult, ...]
    epochs: int
    diverged: dict[int, int]
    seconds: float


def load_checkpoint(content: bytes, trial: str) -> Checkpoint:
    """Read the checkpoint of the trial with that `trial_key`.

    Raises:
        CheckpointError: when the bytes are damaged, or belong to another trial.
    """
    try:
        tensors = load_tensors(content)
        metadata = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        if metadata["format"] != FORMAT:
            raise ValueError(f"expected the format {FORMAT} (got {metadata['format']})")
        facts = _Facts.model_validate_json(metadata["facts"])
        least_mse = tuple(tensors.pop("least_mse").tolist())
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"these bytes are no checkpoint that this program reads: {error}") from error
    if facts.trial != trial:
        raise CheckpointError("the checkpoint is of another network, recipe, seed or dataset")
    best = tensors.pop("best_network", None)
    state = TrainingState(
        epochs=facts.epochs,
        network=_below("network/", tensors),
        optimizer=_below("optimizer/", tensors),
        least_mse=least_mse,
        diverged=facts.diverged,
        seconds=facts.seconds,
    )
    return Checkpoint(trial, facts.finished, None if best is None else best.numpy().tobytes(), state)


def trial_key(*parts: Any) -> str:
    """Equal for trials that train the same thing on the same images; of values, numbers and texts."""
    content = [part.model_dump(mode="json") if isinstance(part, Value) else part for part in parts]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def take_state(
    network: Network,
    optimizer: Mapping[str, Tensor],
    epochs: int,
    least_mse: Sequence[float],
    diverged: Mapping[int, int],
    seconds: float,
) -> TrainingState:
    """Copy the state of a training after some epochs, `optimizer` being AdamW's, to the CPU: it goes on changing."""
    return TrainingState(
        epochs=epochs,
        network={name: _copy(tensor) for name, tensor in network.state_dict().items()},
        optimizer={name: _copy(tensor) for name, tensor in optimizer.items()},
        least_mse=tuple(least_mse),
        diverged=dict(diverged),
        seconds=seconds,
    )


def put_back(state: TrainingState, network: Network, weights: TrainedWeights) -> None:
    """Give a new network and its weights the state of a training.

    Raises:
        CheckpointError: when the state is not one of this network.
    """
    try:
        network.load_state_dict(dict(state.network), strict=True)
    except RuntimeError as error:
        raise CheckpointError(f"the checkpoint's weights do not fit the network: {error}") from error
    weights.round()
    if not equal_shapes(state.optimizer, weights.moments):
        raise CheckpointError("the checkpoint's state of the optimizer does not fit the network")
    for name, value in state.optimizer.items():
        weights.moments[name].copy_(value)
    if len(state.least_mse) != len(network.seeds):
        raise CheckpointError(f"the checkpoint is not of {len(network.seeds)} replicates")


def equal_shapes(some: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> bool:
    """Whether two collections have the same names, and each name the same shape."""
    return {name: one.shape for name, one in some.items()} == {name: one.shape for name, one in others.items()}


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().to("cpu", copy=True).contiguous()


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
