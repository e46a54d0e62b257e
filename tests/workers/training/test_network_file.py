import json
from collections.abc import Callable

import pytest
import torch

from nas_service.domain.architecture import Architecture, TaskShape
from workers.training.network import Network
from workers.training.network_file import NetworkFileError, ProjectionMismatch, load_network, save_network

SHAPE = TaskShape(d_x=8, d_y=8)
Build = Callable[..., Architecture]


def _with_metadata(content: bytes, **changes: str) -> bytes:
    """The same file with other words in its header."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header["__metadata__"].update(changes)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


@pytest.mark.parametrize("w_in", ["learned", "fixed_orthogonal", "fixed_sparse", "fixed_identity_padded", "identity"])
def test_a_loaded_network_answers_as_the_saved_one(an_architecture: Build, w_in: str) -> None:
    network = Network(an_architecture(d_z=12, d_h=4, w_in=w_in), SHAPE, 5)
    network(torch.rand(32, 8))  # moves the running statistics
    loaded = load_network(save_network(network))
    x = torch.rand(6, 8)
    assert torch.equal(loaded(x), network.eval()(x))
    assert (loaded.architecture, loaded.shape, loaded.seeds) == (network.architecture, SHAPE, (5,))
    assert loaded.projection_hashes == network.projection_hashes


def test_a_file_whose_projection_cannot_be_drawn_again_is_refused(an_architecture: Build) -> None:
    content = save_network(Network(an_architecture(w_in="fixed_uniform"), SHAPE, 5))
    with pytest.raises(ProjectionMismatch, match=r"drawn from seed 6 is sha256:.* trained with sha256:"):
        load_network(_with_metadata(content, seed="6"))


@pytest.mark.parametrize("content", [b"", b"not a network at all", b"\x80\x04pickle" * 9])
def test_other_bytes_are_refused(content: bytes) -> None:
    with pytest.raises(NetworkFileError, match="no network file"):
        load_network(content)


def test_a_file_cut_short_is_refused(an_architecture: Build) -> None:
    content = save_network(Network(an_architecture(), SHAPE, 5))
    with pytest.raises(NetworkFileError, match="damaged or cut short"):
        load_network(content[:-8])


def test_a_file_that_promises_a_huge_network_is_refused_before_it_is_built(an_architecture: Build) -> None:
    content = save_network(Network(an_architecture(), SHAPE, 5))
    huge = an_architecture(d_z=1_000_000, d_h=900_000).model_dump_json()
    with pytest.raises(NetworkFileError, match="its architecture needs"):
        load_network(_with_metadata(content, architecture=huge))


def test_a_file_of_another_format_says_which(an_architecture: Build) -> None:
    content = save_network(Network(an_architecture(), SHAPE, 5))
    with pytest.raises(NetworkFileError, match="format 'hourglass-network-9'"):
        load_network(_with_metadata(content, format="hourglass-network-9"))
