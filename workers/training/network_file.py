"""A network as bytes and back: safetensors, the facts that rebuild it as text in the header, no pickle.

A fixed W_in is not in the file: it is drawn again from its seed and held against the hash that the file states.
Leaves out where files are kept.
"""

import json
from typing import Any

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from nas_service.domain.architecture import Architecture, IllegalArchitecture, TaskShape
from nas_service.domain.costs import known_costs
from workers.training.network import Network

FORMAT = "hourglass-network-1"


class NetworkFileError(ValueError):
    """The bytes are no network of this program; the message says what is wrong with them."""


class ProjectionMismatch(NetworkFileError):
    """The fixed W_in drawn from the seed is not the one that the network was trained with."""


def save_network(network: Network) -> bytes:
    """Write a network of one replicate as safetensors: trained weights and normalisation statistics, float32.

    The header's metadata are `format`, `architecture` (JSON), `d_x`, `d_y`, `seed` and `projection_hash` (empty when
    W_in is not fixed at random).
    """
    assert len(network.seeds) == 1, "a file holds one replicate"
    tensors = {name: tensor[0].detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    return save_tensors(tensors, metadata=_metadata(network))


def load_network(content: bytes) -> Network:
    """Rebuild a network on the CPU, in evaluation mode.

    Raises:
        ProjectionMismatch: when the fixed W_in drawn from the stated seed has another hash.
        NetworkFileError: when the bytes are not such a file, or are damaged.
    """
    metadata, payload_bytes = _read_header(content)
    try:
        architecture = Architecture.model_validate_json(metadata["architecture"])
        shape = TaskShape(d_x=int(metadata["d_x"]), d_y=int(metadata["d_y"]))
        expected_bytes = known_costs(architecture, shape).bytes_stored
        seed, stated_hash = int(metadata["seed"]), metadata["projection_hash"] or None
    except (KeyError, ValueError, ValidationError, IllegalArchitecture) as error:
        raise NetworkFileError(f"the network file's header does not describe a network: {error}") from error
    if payload_bytes != expected_bytes:  # before anything of the stated size is allocated
        raise NetworkFileError(
            f"the network file holds {payload_bytes} bytes of weights, its architecture needs {expected_bytes}; "
            "it is damaged or cut short"
        )
    network = Network(architecture, shape, seed)
    if network.projection_hashes[0] != stated_hash:
        raise ProjectionMismatch(
            f"the fixed W_in drawn from seed {seed} is {network.projection_hashes[0]}, but the network was trained "
            f"with {stated_hash}; load it with the versions of this program and of numpy that trained it"
        )
    _fill(network, content)
    return network.eval()


def _metadata(network: Network) -> dict[str, str]:
    return {
        "format": FORMAT,
        "architecture": network.architecture.model_dump_json(),
        "d_x": str(network.shape.d_x),
        "d_y": str(network.shape.d_y),
        "seed": str(network.seeds[0]),
        "projection_hash": network.projection_hashes[0] or "",
    }


def _read_header(content: bytes) -> tuple[dict[str, Any], int]:
    """The metadata, and the bytes of weights that follow the header."""
    length = int.from_bytes(content[:8], "little")
    try:
        metadata = json.loads(content[8 : 8 + length])["__metadata__"]
        known = metadata["format"] == FORMAT
    except (ValueError, KeyError, TypeError) as error:
        raise NetworkFileError("these bytes are no network file (expected safetensors with a header)") from error
    if not known:
        raise NetworkFileError(f"the network file has format {metadata['format']!r}; this program reads {FORMAT!r}")
    return metadata, len(content) - 8 - length


def _fill(network: Network, content: bytes) -> None:
    try:
        tensors = {name: tensor[None] for name, tensor in load_tensors(content).items()}
        network.load_state_dict(tensors, strict=True)
    except (SafetensorError, RuntimeError) as error:
        raise NetworkFileError(f"the network file's weights do not fit its architecture: {error}") from error
